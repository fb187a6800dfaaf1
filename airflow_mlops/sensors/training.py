"""Waiting for a training that somebody else started."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException

from airflow_mlops.codec import decode, encode
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.exceptions import ContractError, SpecificationError, TransientAdapterError
from airflow_mlops.hooks.artifacts import ArtifactStore, local_path
from airflow_mlops.hooks.cluster import ClusterAccess
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.operators.pod_training import deliver
from airflow_mlops.training.attempts import Action, Attempt, Output
from airflow_mlops.training.phase import PodPhase
from airflow_mlops.training.pods import MODEL_LABEL, TASK_LABEL, label_value
from airflow_mlops.training.sightings import Seen, Sighting, conclude, newest
from airflow_mlops.triggers.events import from_payload

__all__ = ["TrainingSensor"]

_SEEN = "mlops_training"
_GRACE_SECONDS = 60.0


class TrainingSensor(BaseSensorOperator):
    """Wait for a training in a cluster that another task, DAG or Airflow started.

    The training is found by the labels of its pods. Among those that match, the one whose pod was made last is
    followed, with all its tries. While no pod matches, the sensor waits; once it has seen one, it remembers the
    training, and pods that vanish do not matter: what counts is the result in the artefact store, every file of which
    must match its digest. Then it returns what the training's own task returns. A training that ended without such a
    result fails the sensor with the message that the training's own task would give; where another try may help, the
    sensor may be retried as well.

    Both need the same artefact store (``[mlops] artifact_root``) at the same path. At least one of ``job``,
    ``model_name`` and ``label_selector`` must be given; where there are several, pods must match them all.

    :param job: the task instance that trains, ``dag_id/run_id/task_id`` or ``dag_id/run_id/task_id/map_index``
        (templated)
    :param model_name: what is being trained (templated)
    :param label_selector: as ``kubectl get pods --selector`` takes it (templated)
    :param created_after: ISO 8601 time with its zone; earlier pods do not count, for example those that older runs
        left; None for all (templated)
    :param container: name of the container that trains
    :param namespace: where the pods are; None for the connection's (templated)
    :param kubernetes_conn_id: connection of type ``kubernetes``
    :param config_file: kubeconfig that worker and triggerer have; None for the connection's (templated)
    :param cluster_context: context in the kubeconfig
    :param in_cluster: whether to use the service account of Airflow's own pod
    :param deferrable: whether to wait without a worker; ``poke_interval`` and ``timeout`` hold there too
    :param multiple_outputs: whether each part of the result can be taken by its key
    :return: ``model`` (encoded reference), ``metrics``, ``summary``, ``job_uri`` and ``mlflow_run_id``
    """

    template_fields: Sequence[str] = (
        *("model_name", "job", "label_selector", "created_after"),
        *("namespace", "config_file"),
    )
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        job: str | None = None,
        model_name: str | None = None,
        label_selector: str | None = None,
        created_after: str | None = None,
        container: str = "base",
        namespace: str | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        config_file: str | None = None,
        cluster_context: str | None = None,
        in_cluster: bool | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.job = job
        self.model_name = model_name
        self.label_selector = label_selector
        self.created_after = created_after
        self.container = container
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.in_cluster = in_cluster
        self.deferrable = deferrable
        self._remembered: Seen | None = None

    def execute(self, context: Context) -> Any:
        """Look; in deferrable mode, go to sleep until there is something new to see."""
        if not self.deferrable:
            return super().execute(context)
        try:
            return self._look_or_sleep(context, time.time() + self.timeout)
        except AirflowException as error:
            if self.soft_fail or self.never_fail:  # Airflow sees to it after the first look
                raise AirflowSkipException(str(error)) from error
            raise

    def resume(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Come back from the trigger; its event is a reason to look, never evidence."""
        from airflow_mlops.triggers.training import TrainingEvent

        return self._look_or_sleep(context, float(from_payload(TrainingEvent, event).carried["deadline"]))

    @airflow_errors()
    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Find the training and, if it has ended, judge it."""
        from airflow_mlops.adapters.pods.attempts import examine, explain
        from airflow_mlops.adapters.pods.kubernetes import PodClient

        hook, after = self._access().hook(), self._after()
        pods = PodClient(hook.core_v1_client, self._namespace(hook))
        try:
            sighting = newest(pods.select(self._selector()), container=self.container, created_after=after)
        except TransientAdapterError as error:
            self.log.warning("%s", error)
            return False
        seen = self._remember(context, sighting)
        if seen is None:
            self.log.info("No training has these labels: %s", self._selector())
            return False
        folder = _folder(seen)
        decision = conclude(_attempts(folder, sighting), seen)
        self.log.info("%s", decision.reason)
        if decision.action is Action.WAIT:
            return False
        found = examine(folder, decision.attempt)
        if decision.action is Action.FINISH and found.result is not None:
            request = folder.directory(decision.attempt).request()
            run_id = request.tracking.run_id if request is not None and request.tracking is not None else None
            returned = deliver(found.result, folder, decision.attempt, run_id)
            return PokeReturnValue(is_done=True, xcom_value=returned)
        sighting = sighting or Sighting(seen=seen, reports={})
        name, report = sighting.report(decision.attempt)
        if report.phase is PodPhase.ABSENT and found.problem is not None and not _is_lost(folder, decision.attempt):
            # Whoever started it has seen it fail and has removed the pod; what the script left still says why.
            raise found.problem
        raise explain(report, folder, decision.attempt, f"{pods.namespace}/{name}")

    def _look_or_sleep(self, context: Context, deadline: float) -> Any:
        done = self.poke(context)
        if isinstance(done, PokeReturnValue):
            return done.xcom_value
        if time.time() >= deadline:
            raise AirflowSensorTimeout(f"no training has ended within {self.timeout:g} s; labels: {self._selector()}")
        return self._sleep(deadline)

    def _sleep(self, deadline: float) -> NoReturn:
        from airflow_mlops.triggers.training import TrainingPodsTrigger

        self.defer(
            trigger=TrainingPodsTrigger(
                namespace=self._namespace(self._access().hook()),
                selector=self._selector(),
                container=self.container,
                created_after=self.created_after,
                seen=encode(self._remembered),
                access=encode(self._access()),
                poll_seconds=self.poke_interval,
                deadline=deadline,
                carried={"deadline": deadline},
            ),
            method_name="resume",
            # Should the triggerer be down when time is over.
            timeout=timedelta(seconds=deadline - time.time() + _GRACE_SECONDS),
        )

    def _remember(self, context: Context, sighting: Sighting | None) -> Seen | None:
        """Return which training is followed; the next look may be another process's, and find no pod any more."""
        store = context["task_state_store"]
        # Who asks for something else does not go on with what was seen before.
        key = f"{_SEEN}:{label_value(self._selector(), str(self.created_after))}"
        known = store.get(key)
        self._remembered = decode(Seen, known) if known is not None else None
        if sighting is not None and sighting.seen != self._remembered:
            store.set(key, encode(sighting.seen))
            self._remembered = sighting.seen
        return self._remembered

    def _selector(self) -> str:
        parts = [self.label_selector] if self.label_selector else []
        if self.model_name:
            parts.append(f"{MODEL_LABEL}={label_value(self.model_name)}")
        if self.job:
            names = self.job.split("/")
            if len(names) not in (3, 4) or not all(names):
                raise SpecificationError("job", self.job, "dag_id/run_id/task_id, and /map_index of a mapped task")
            job_id = "/".join(names if len(names) == 4 else (*names, "-1"))
            parts.append(f"{TASK_LABEL}={label_value(ArtifactStore.from_config().uri(), job_id)}")
        if not parts:
            raise SpecificationError("label_selector", self.label_selector, "labels, or a model_name or a job")
        return ",".join(parts)

    def _after(self) -> datetime | None:
        if self.created_after is None:
            return None
        try:
            after = datetime.fromisoformat(self.created_after)
        except (TypeError, ValueError):
            after = None
        if after is None or after.tzinfo is None:
            raise SpecificationError("created_after", self.created_after, "an ISO 8601 time with its zone")
        return after.astimezone(UTC)

    def _namespace(self, hook: Any) -> str:
        return str(self.namespace or hook.get_namespace() or "default")

    def _access(self) -> ClusterAccess:
        return ClusterAccess(
            conn_id=self.kubernetes_conn_id,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
            in_cluster=self.in_cluster,
        )


def _folder(seen: Seen) -> AttemptFolder:
    """Return the job's folder; whoever may make pods may write anything into their annotations."""
    store = ArtifactStore.from_config()
    root, path = local_path(store.uri()), Path(seen.folder)
    if root is None:
        raise SpecificationError(
            "[mlops] artifact_root", str(store.root), "a folder (file://…) that worker and pods share"
        )
    if not path.resolve().is_relative_to(root.resolve()):
        raise ContractError(
            f"the pods of attempt {seen.attempt} name {path}, which is not in the artefact store {root}"
        )
    return AttemptFolder(path)


def _is_lost(folder: AttemptFolder, attempt: str) -> bool:
    from airflow_mlops.container.outcome import outcome
    from airflow_mlops.training.ports import JobPhase

    return outcome(folder.directory(attempt), running=False).phase is JobPhase.LOST


def _attempts(folder: AttemptFolder, sighting: Sighting | None) -> Sequence[Attempt]:
    from airflow_mlops.adapters.pods.attempts import examine

    reports = sighting.reports if sighting is not None and sighting.seen.folder == str(folder.path) else {}
    claims, found = folder.claims(), []
    for name in sorted({*folder.names(), *reports}):
        phase = PodPhase.ABSENT
        if sighting is not None and name in reports:
            phase = sighting.report(name)[1].phase
        output = Output.OPEN if phase.is_live else examine(folder, name).output
        found.append(Attempt(name=name, claimed=name in claims, output=output, pod=phase))
    return found
