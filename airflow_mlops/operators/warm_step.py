"""Steps of a warm pod, and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.links.pages import PodLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.adapters.pods.steps import WarmSteps
    from airflow_mlops.operators.pod_training import PodTraining
    from airflow_mlops.training.contract import JobResult, Kind
    from airflow_mlops.training.warm import WarmPodRef

__all__ = ["RunInWarmPodOperator", "StopWarmPodOperator"]

_COMMAND = "airflow_mlops.container.command"
_GRACE_SECONDS = 5.0
_KINDS = ("train", "evaluate", "check")


class _InWarmPodOperator(MLOpsOperator):
    """What reaches a pod that another task has started.

    :param pod: what :class:`~airflow_mlops.operators.pod_start.StartWarmPodOperator` returned (templated)
    :param kubernetes_conn_id: connection to the cluster
    :param in_cluster: whether the worker's own service account is used
    :param config_file: path of a kubeconfig
    :param cluster_context: which context of it
    """

    def __init__(
        self,
        *,
        pod: Any,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pod = pod
        self.kubernetes_conn_id = kubernetes_conn_id
        self.in_cluster = in_cluster
        self.config_file = config_file
        self.cluster_context = cluster_context

    def _ref(self) -> WarmPodRef:
        from airflow_mlops.training.warm import WarmPodRef

        if not isinstance(self.pod, Mapping):
            raise SpecificationError("pod", self.pod, "what StartWarmPodOperator returned; its task is the setup")
        return decode(WarmPodRef, dict(self.pod), where="pod")

    def _api(self) -> Any:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

        return KubernetesHook(
            conn_id=self.kubernetes_conn_id,
            in_cluster=self.in_cluster,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
        ).core_v1_client


class RunInWarmPodOperator(_InWarmPodOperator):
    """Run one step in a pod that is there already, instead of starting one for it.

    A step is a job of the training contract: its script gets a request and leaves a result with a manifest, and the
    task succeeds only after every file was verified. Its log appears in the task's while it runs. The process belongs
    to the pod: when the worker or the connection dies, it goes on, and the next try finds it and follows it instead of
    starting a second one. A step that has succeeded in this pod is not repeated. When the pod itself is lost, the task
    says why and fails for good: only its setup brings a pod back.

    Instead of a script, a step may be a plain command. It succeeds with exit code 0; what it writes to its working
    directory is its result.

    :param pod: what :class:`~airflow_mlops.operators.pod_start.StartWarmPodOperator` returned (templated)
    :param entrypoint: path of a script on the worker, absolute or from the DAG's folder, which is taken along; or a
        module or path in the image (templated)
    :param command: words of a plain command, instead of ``entrypoint`` (templated)
    :param datasets: role to one or several encoded :class:`~airflow_mlops.references.DatasetRef` (templated)
    :param parameters: the script's settings; JSON values (templated)
    :param models: role to encoded :class:`~airflow_mlops.references.ModelRef` (templated)
    :param kind: what the request says that it is: ``train``, ``evaluate`` or ``check``
    :param kubernetes_conn_id: connection to the cluster
    :param in_cluster: whether the worker's own service account is used; it needs ``get`` of pods and events, and
        ``get`` and ``create`` of ``pods/exec``
    :param config_file: path of a kubeconfig
    :param cluster_context: which context of it
    :return: ``metrics``, ``summary``, ``artifacts`` (role to URI), ``job_uri``, and ``model`` (encoded reference, None
        if the result names none)
    """

    template_fields: Sequence[str] = ("pod", "entrypoint", "command", "datasets", "parameters", "models")
    operator_extra_links = (PodLink(),)
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        pod: Any,
        entrypoint: str | None = None,
        command: Sequence[str] | None = None,
        datasets: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        kind: Kind = "train",
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            pod=pod,
            kubernetes_conn_id=kubernetes_conn_id,
            in_cluster=in_cluster,
            config_file=config_file,
            cluster_context=cluster_context,
            **kwargs,
        )
        self.entrypoint = entrypoint
        self.command = command
        self.datasets = datasets
        self.parameters = parameters
        self.models = models
        self.kind = kind
        self._running: tuple[WarmSteps, str] | None = None

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step, or follow it, to its verified result."""
        from airflow_mlops.adapters.pods.exec import PodExec
        from airflow_mlops.adapters.pods.kubernetes import PodClient
        from airflow_mlops.adapters.pods.steps import StepEnd, WarmSteps
        from airflow_mlops.adapters.pods.warm import WarmPods
        from airflow_mlops.operators.pod_training import attempt_name
        from airflow_mlops.training.attempts import Action, enter

        ref = self._ref()
        job = self._job(context, ref)
        api = self._api()
        steps = WarmSteps(
            pods=WarmPods(PodClient(api, ref.namespace)),
            commands=PodExec(api, ref.namespace),
            ref=ref,
            folder=job.folder,
            entrypoint=job.entrypoint,
            request=job.request_of,
        )
        decision = enter(steps, attempt_name(context))
        end = StepEnd()
        if decision.action is Action.FOLLOW:
            self.log.info("Attempt %s in pod %s/%s", decision.attempt, ref.namespace, ref.name)
            self._running = steps, decision.attempt
            end = steps.follow(decision.attempt, self._show)
            self._running = None
        return self._deliver(steps.conclude(decision.attempt, end), job, decision.attempt)

    def on_kill(self) -> None:
        """End the step's process in the pod, and nothing else there."""
        if self._running is None:
            return
        steps, attempt = self._running
        try:
            steps.stop(attempt, _GRACE_SECONDS)
        except MLOpsError as error:
            self.log.warning("Attempt %s runs on until the pod is stopped: %s", attempt, error)
        else:
            self.log.info("Stopped attempt %s", attempt)

    def _show(self, line: str) -> None:
        self.log.info("%s", line)

    def _job(self, context: Context, ref: WarmPodRef) -> PodTraining:
        from airflow_mlops.operators.pod_training import pod_training

        entrypoint, parameters = self._what()
        return pod_training(
            context,
            kind=self.kind,
            # What a step leaves in the pod's own file system is gone with it: in another pod it is another job.
            image=ref.uid,
            entrypoint=entrypoint,
            model_name=self.task_id,
            datasets=self.datasets or {},
            models=self.models or {},
            parameters=parameters,
            tracking=None,
            needs_datasets=False,
        )

    def _what(self) -> tuple[str, Mapping[str, Any]]:
        if self.kind not in _KINDS:
            raise SpecificationError("kind", self.kind, f"one of {', '.join(_KINDS)}")
        if (self.entrypoint is None) == (self.command is None):
            raise SpecificationError("entrypoint", self.entrypoint, "either an entrypoint or a command, not both")
        if self.entrypoint is not None:
            folder = dag_folder(self)
            path = Path(folder, self.entrypoint) if folder and self.entrypoint.endswith(".py") else None
            return str(path) if path is not None and path.is_file() else self.entrypoint, self.parameters or {}
        words = self.command
        if isinstance(words, str) or not words or not all(isinstance(one, str) for one in words):
            raise SpecificationError("command", words, "a list of words, the first of them a program in the image")
        if self.parameters:
            raise SpecificationError("parameters", self.parameters, "none beside a command, whose words say everything")
        return _COMMAND, {"command": list(words)}

    def _deliver(self, result: JobResult, job: PodTraining, attempt: str) -> dict[str, Any]:
        from airflow_mlops.operators.pod_training import deliver

        where = f"file://{job.folder.directory(attempt).path}"
        artifacts = {role: f"{where}/{path}" for role, path in result.artifacts.items()}
        return {
            "model": deliver(result, job.folder, attempt, None)["model"] if "model" in artifacts else None,
            "metrics": dict(result.metrics),
            "summary": dict(result.summary),
            "artifacts": artifacts,
            "job_uri": where,
        }


class StopWarmPodOperator(_InWarmPodOperator):
    """Remove a warm pod, with whatever still runs in it; it is fine if it is gone.

    :param pod: what :class:`~airflow_mlops.operators.pod_start.StartWarmPodOperator` returned (templated)
    :param kubernetes_conn_id: connection to the cluster
    :param in_cluster: whether the worker's own service account is used
    :param config_file: path of a kubeconfig
    :param cluster_context: which context of it
    """

    template_fields: Sequence[str] = ("pod",)
    operator_extra_links = (PodLink(),)
    ui_color = "#e3f2fd"

    @airflow_errors()
    def execute(self, context: Context) -> None:
        """Ask for the pod's deletion."""
        from airflow_mlops.adapters.pods.kubernetes import PodClient
        from airflow_mlops.adapters.pods.warm import WarmPods

        del context
        ref = self._ref()
        there = WarmPods(PodClient(self._api(), ref.namespace)).delete(ref)
        self.log.info("Pod %s/%s %s", ref.namespace, ref.name, "is being deleted" if there else "was gone before")
