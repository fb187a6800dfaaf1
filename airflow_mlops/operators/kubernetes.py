"""Training as a Kubernetes pod: Airflow's own pod operator, with a contract and a result that cannot vanish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.providers.cncf.kubernetes.utils.pod_manager import OnFinishAction
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from kubernetes.client.exceptions import ApiException  # noqa: TID253 - the pod operator has imported it already
from urllib3.exceptions import HTTPError

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.links.base import PushedLink
from airflow_mlops.links.mlflow import MLflowRunLink
from airflow_mlops.links.pages import ImageLink, ModelLink, PodLink, show_pod
from airflow_mlops.operators.base import MLOpsTask
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.operators.pod_watch import PodWatch, join_group

if TYPE_CHECKING:
    from airflow_mlops.container.attempt import AttemptFolder
    from airflow_mlops.operators.pod_ranks import ParallelRun
    from airflow_mlops.operators.pod_training import PodTraining
    from airflow_mlops.training.attempts import Decision
    from airflow_mlops.training.contract import JobResult, Kind
    from airflow_mlops.training.phase import PodReport
    from airflow_mlops.training.pods import PodResources, PodVolume

__all__ = ["TrainOnKubernetesOperator"]

# What travels with the trigger.
_ATTEMPT, _FOLDER, _POD, _RUN = "mlops_attempt", "mlops_folder", "mlops_pod", "mlops_run_id"
# Watching a pod failed; what became of it is another question.
_WATCHING_FAILED = (AirflowException, ApiException, HTTPError)
# Image pulls of training images take minutes; Airflow's own two are too few.
_STARTUP_SECONDS = 900
_SCHEDULE_SECONDS = 300


class _SettledError(Exception):
    """There is nothing to wait for: leaves the pod operator's flow."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


class TrainOnKubernetesOperator(MLOpsTask, KubernetesPodOperator):
    """Train a model in a pod, or in several that work together.

    Takes every argument of ``KubernetesPodOperator`` and behaves like it, except that success means a verified model:
    whatever happens to the pod, to the worker or to an event, the task succeeds only after the result was read from
    the artefact store and every file matched its digest. A try never trains twice, and a try that finds the pod of an
    earlier one at work follows it. Failures say what happened.

    The artefact store (``[mlops] artifact_root``) must be a folder that worker and pod both see at the same path.

    With ``parallelism`` above 1 an Indexed Job runs the script in as many equal pods, each of which knows its
    ``job.rank``, ``job.world_size`` and ``job.rendezvous``; rank 0 leaves the result, and all of them must succeed.

    :param image: container image with airflow-mlops installed; needs neither Airflow nor a shell (templated)
    :param entrypoint: path of a script on the worker, absolute or from the DAG's folder, which is taken along; or a
        module or path in the image (templated)
    :param datasets: role to one or several encoded :class:`~airflow_mlops.references.DatasetRef` (templated)
    :param model_name: what is being trained (templated)
    :param parameters: the script's settings; JSON values (templated)
    :param models: role to encoded :class:`~airflow_mlops.references.ModelRef` (templated)
    :param pod_resources: :class:`~airflow_mlops.training.pods.PodResources`, or a mapping of its fields
    :param artifacts: the artefact store as a volume, or a mapping of its fields; None if the pod has it otherwise
    :param parallelism: how many pods
    :param python: interpreter in the image
    :param mlflow_conn_id: where to track; None for nowhere. Credentials come to the pod by
        :class:`~airflow_mlops.training.pods.SecretVariable`, never from the connection
    :param startup_timeout_seconds: how long the image may be pulled and the containers made
    :param schedule_timeout_seconds: how long the pod may wait for a node
    :param startup_check_interval_seconds: how often to look meanwhile
    :param log_pod_spec_on_failure: whether failures show the whole pod, with the values of its variables
    :param termination_message_policy: where the kubelet takes a container's last words from
    :param do_xcom_push: whether the result is pushed; there is never a second container for it
    :param multiple_outputs: whether each part of the result can be taken by its key
    :return: ``model`` (encoded reference), ``metrics``, ``summary``, ``job_uri`` and ``mlflow_run_id``
    """

    template_fields: Sequence[str] = (
        *KubernetesPodOperator.template_fields,
        *("entrypoint", "datasets", "model_name", "parameters", "models"),
    )
    operator_extra_links: tuple[PushedLink, ...] = (MLflowRunLink(), ModelLink(), PodLink(), ImageLink())
    job_kind: Kind = "train"
    trains = True
    _parallel: ParallelRun | None = None

    def __init__(
        self,
        *,
        entrypoint: str,
        datasets: Mapping[str, Any],
        model_name: str,
        parameters: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        pod_resources: PodResources | Mapping[str, Any] | None = None,
        artifacts: PodVolume | Mapping[str, Any] | None = None,
        parallelism: int = 1,
        python: str = "python",
        mlflow_conn_id: str | None = None,
        startup_timeout_seconds: int = _STARTUP_SECONDS,
        schedule_timeout_seconds: int = _SCHEDULE_SECONDS,
        startup_check_interval_seconds: int = 1,
        log_pod_spec_on_failure: bool = False,
        termination_message_policy: str = "FallbackToLogsOnError",
        do_xcom_push: bool = True,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            startup_timeout_seconds=startup_timeout_seconds,
            schedule_timeout_seconds=schedule_timeout_seconds,
            startup_check_interval_seconds=startup_check_interval_seconds,
            log_pod_spec_on_failure=log_pod_spec_on_failure,
            termination_message_policy=termination_message_policy,
            do_xcom_push=False,  # to the pod operator this means a second container that may be lost
            multiple_outputs=multiple_outputs,
            **kwargs,
        )
        self.entrypoint = entrypoint
        self.datasets = datasets
        self.model_name = model_name
        self.parameters = parameters or {}
        self.models = models or {}
        self.pod_resources = pod_resources
        self.artifacts = artifacts
        self.parallelism = parallelism
        self.python = python
        self.mlflow_conn_id = mlflow_conn_id
        self.returns_result = do_xcom_push
        self._training: PodTraining | None = None
        self._run_id: str | None = None
        self._report: PodReport | None = None

    @cached_property
    def pod_manager(self) -> PodWatch:
        """What follows the pod."""
        return PodWatch(kube_client=self.client, callbacks=self.callbacks)

    def execute(self, context: Context) -> dict[str, Any]:
        """Start or follow the pod, or find that all is done; in deferrable mode, go to sleep meanwhile."""
        with airflow_errors():
            self._check_parallelism()
            self._training = self._plan(context)
            if self.parallelism > 1:
                return self._ranks().begin(context, self._training, self._run_id)
            try:
                super().execute(context)
            except _SettledError as settled:
                return self._settle_at_once(settled.decision)
            except _WATCHING_FAILED as problem:
                return self._conclude(problem)
            return self._conclude(None)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Come back from the trigger; its event is a reason to look, never evidence."""
        self._remember({name: event[name] for name in (_ATTEMPT, _FOLDER, _POD, _RUN)})
        with airflow_errors():
            try:
                super().trigger_reentry(context, event)
            except _WATCHING_FAILED as problem:
                return self._conclude(problem)
            return self._conclude(None)

    def parallel_reentry(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Come back from the trigger that followed several pods."""
        del context
        with airflow_errors():
            return self._ranks().resume(event)

    def on_kill(self) -> None:
        """Remove the Job with its pods and its Service, or the one pod."""
        if self._parallel is None:
            super().on_kill()
            return
        self._killed = True
        self._parallel.stop()

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> Any:
        """Add the training to the user's pod; the pod operator then merges, labels and mutates as it always does."""
        from airflow_mlops.operators.pod_training import attempt_name

        if context is not None and self._training is not None:
            addition = PodGenerator.deserialize_model_dict(self._overlay(self._training, attempt_name(context)))
            base = self.full_pod_spec
            self.full_pod_spec = PodGenerator.reconcile_pods(base, addition) if base else addition
            self.name = self._pod_name(self._training.folder, attempt_name(context))
            self.random_name_suffix = False
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        if self._training is not None:
            # Only now: merging replaces a security context, and the pod template's is the user's confinement.
            join_group(pod, self._training.folder.open())
        return pod

    def get_or_create_pod(self, pod_request_obj: Any, context: Context) -> Any:
        """Find out what this try has to do, and do it; never more than one pod for one attempt."""
        from airflow_mlops.adapters.pods.attempts import TrainingPods
        from airflow_mlops.adapters.pods.kubernetes import PodClient
        from airflow_mlops.operators.pod_training import attempt_name
        from airflow_mlops.training.attempts import Action, enter

        training = self._training
        if training is None:
            raise ContractError("get_or_create_pod is part of execute")
        world = TrainingPods(
            pods=PodClient(self.client, pod_request_obj.metadata.namespace),
            folder=training.folder,
            labels=training.labels,
            container=self.base_container_name,
            request=training.request_of,
            build=lambda: pod_request_obj,
        )
        while True:
            decision = enter(world, attempt_name(context))
            self.log.info("%s", decision.reason)
            name = self._pod_name(training.folder, decision.attempt)
            state = {_ATTEMPT: decision.attempt, _FOLDER: str(training.folder.path), _RUN: self._run_id}
            self._remember({**state, _POD: [pod_request_obj.metadata.namespace, name]})
            show_pod(context, pod_request_obj.metadata.namespace, name)
            if decision.action is not Action.FOLLOW:
                if decision.action is Action.FINISH and self.on_finish_action is not OnFinishAction.KEEP_POD:
                    world.tidy()
                raise _SettledError(decision)
            self.pod = world.created or self._read()
            if self.pod is not None:
                return self.pod

    def find_pod(self, namespace: str, context: Context, *, exclude_checked: bool = True) -> Any:  # noqa: ARG002
        """Return the pod that is being followed; its name says which it is, labels need not be searched."""
        return self._read() if self.callbacks else self.pod

    def cleanup(
        self, pod: Any, remote_pod: Any, xcom_result: dict[Any, Any] | None = None, context: Context | None = None
    ) -> None:
        """See how the pod ended while it can still be seen, then let it go; judging comes later."""
        del pod, xcom_result, context
        if self._killed or remote_pod is None:
            return
        found = self._read()
        self._report = self._diagnose(found)
        if found is not None:
            self.process_pod_deletion(found, reraise=False)

    def deliver(self, result: JobResult, folder: AttemptFolder, attempt: str, run_id: str | None) -> dict[str, Any]:
        """Turn a verified result into what the task returns; may be repeated."""
        from airflow_mlops.operators.pod_training import deliver

        return deliver(result, folder, attempt, run_id)

    def _check_parallelism(self) -> None:
        many = self.parallelism
        if not isinstance(many, int) or isinstance(many, bool) or many < 1:
            raise SpecificationError("parallelism", many, "how many pods train, a whole number of at least 1")
        if many > 1 and self.job_kind != "train":
            raise SpecificationError("parallelism", many, f"1: a job of kind {self.job_kind!r} is done by one pod")
        if many > 1 and self.callbacks:
            raise SpecificationError("callbacks", self.callbacks, "none where parallelism is above 1: they see one pod")

    def _ranks(self) -> ParallelRun:
        from airflow_mlops.operators.pod_ranks import ParallelRun

        self._parallel = ParallelRun(self)
        return self._parallel

    def _plan(self, context: Context) -> PodTraining:
        from airflow_mlops.operators.pod_training import pod_training
        from airflow_mlops.operators.tracking import begin_run

        tracking = begin_run(context, self.mlflow_conn_id, self.model_name, own_network=not self.hostnetwork)
        self._run_id = tracking.run_id if tracking else None
        return pod_training(
            context,
            kind=self.job_kind,
            image=self.image or "",
            entrypoint=self._script(),
            model_name=self.model_name,
            datasets=self.datasets,
            models=self.models,
            parameters=self.parameters,
            tracking=tracking,
            parallelism=self.parallelism,
        )

    def _script(self) -> str:
        folder = dag_folder(self)
        path = Path(folder, self.entrypoint) if folder and self.entrypoint.endswith(".py") else None
        return str(path) if path is not None and path.is_file() else self.entrypoint

    def _overlay(self, training: PodTraining, attempt: str) -> dict[str, Any]:
        from airflow_mlops.container.attempt import attempt_command
        from airflow_mlops.training.pods import (
            ATTEMPT_LABEL,
            DIRECTORY_ANNOTATION,
            PodResources,
            PodVolume,
            pod_overlay,
        )

        directory = str(training.folder.directory(attempt).path)
        return pod_overlay(
            container=self.base_container_name,
            command=attempt_command(self.python, directory, training.entrypoint),
            labels={**training.labels, ATTEMPT_LABEL: attempt},
            annotations={DIRECTORY_ANNOTATION: directory},
            resources=_value(PodResources, self.pod_resources) or PodResources(),
            artifacts=_value(PodVolume, self.artifacts),
            group=None,
        )

    def _pod_name(self, folder: AttemptFolder, attempt: str) -> str:
        from airflow_mlops.training.pods import pod_name

        return pod_name(self.task_id, str(folder.path), attempt)

    def _remember(self, state: Mapping[str, Any]) -> None:
        # The trigger carries these to whoever comes back from it, which is another process.
        self.trigger_kwargs = {**(self.trigger_kwargs or {}), **state}

    def _read(self) -> Any:
        namespace, name = (self.trigger_kwargs or {})[_POD]
        try:
            return self.hook.get_pod(name, namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _diagnose(self, found: Any) -> PodReport:
        from airflow_mlops.adapters.pods.kubernetes import PodClient
        from airflow_mlops.training.phase import Cause, PodPhase, read_pod

        namespace, name = (self.trigger_kwargs or {})[_POD]
        pod = None if found is None else self.client.api_client.sanitize_for_serialization(found)
        report = read_pod(pod, container=self.base_container_name)
        if report.trouble is None or (report.phase is PodPhase.FAILED and report.trouble.cause is not Cause.GONE):
            return report
        return read_pod(pod, container=self.base_container_name, events=PodClient(self.client, namespace).events(name))

    def _settle_at_once(self, decision: Decision) -> dict[str, Any]:
        from airflow_mlops.training.attempts import Action

        if decision.action is Action.FAIL:
            self._report = self._diagnose(self._read())
        return self._conclude(None)

    def _conclude(self, problem: Exception | None) -> dict[str, Any]:
        """Return the verified result or say why there is none; may be repeated."""
        from airflow_mlops.adapters.pods.attempts import examine, explain
        from airflow_mlops.container.attempt import AttemptFolder
        from airflow_mlops.operators.tracking import end_run
        from airflow_mlops.training.attempts import Output

        state = self.trigger_kwargs or {}
        if _ATTEMPT not in state:
            raise problem or ContractError("no pod was asked for")
        folder, attempt = AttemptFolder(Path(state[_FOLDER])), state[_ATTEMPT]
        if self._report is None:
            self._report = self._diagnose(self._read())
        if not self._report.phase.is_live:
            found = examine(folder, attempt)
            if found.output is Output.VERIFIED and found.result is not None:
                end_run(self.mlflow_conn_id, state[_RUN], "FINISHED")
                self.do_xcom_push = self.returns_result
                return self.deliver(found.result, folder, attempt, state[_RUN])
        if self._report.exit_code is not None and self._report.exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"the script ended with exit code {self._report.exit_code}")
        error = explain(self._report, folder, attempt, "/".join(state[_POD]), problem)
        end_run(self.mlflow_conn_id, state[_RUN], "FAILED")
        raise error from problem


def _value(cls: type[Any], given: Any) -> Any:
    return decode(cls, dict(given)) if isinstance(given, Mapping) else given
