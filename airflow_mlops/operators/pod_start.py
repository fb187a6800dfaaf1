"""Starting the pod that several steps share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from airflow.sdk import Context

from airflow_mlops.adapters.pods.kubernetes import PodClient
from airflow_mlops.adapters.pods.warm import SPEC_LABEL, WarmPods
from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.container.warm_pod import idle_command
from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.transfer import local_path
from airflow_mlops.links.pages import ImageLink, PodLink, show_pod
from airflow_mlops.operators.base import MLOpsTask
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.operators.pod_watch import join_group
from airflow_mlops.training.pods import PodResources, PodVolume, label_value, pod_name, pod_overlay
from airflow_mlops.training.warm import WarmPodRef

__all__ = ["StartWarmPodOperator"]

#: The task instance that starts the pod, whatever its try.
_WARM_POD_LABEL = "airflow-mlops/warm-pod"
_LIFETIME_SECONDS = 3600
_STARTUP_SECONDS = 900
_SCHEDULE_SECONDS = 300


class StartWarmPodOperator(MLOpsTask, KubernetesPodOperator):
    """Start a pod in which several steps run one after the other or side by side.

    Takes every argument of ``KubernetesPodOperator`` that says what a pod looks like. The pod does nothing until a
    :class:`~airflow_mlops.operators.warm_step.RunInWarmPodOperator` runs something in it. Its name follows from the
    task instance, so a retry finds the pod that an earlier try made; one that has ended, or is made of something else
    than is asked for now, is replaced. If it does not start, the reason is reported and it is removed.

    Use it as a setup whose teardown is a :class:`~airflow_mlops.operators.warm_step.StopWarmPodOperator`;
    :class:`~airflow_mlops.operators.warm_pod.WarmPod` arranges that. Whatever happens to Airflow, the cluster ends the
    pod after ``active_deadline_seconds``.

    :param image: container image with airflow-mlops installed; needs neither Airflow nor a shell (templated)
    :param active_deadline_seconds: how long the pod may live, all its steps together
    :param pod_resources: :class:`~airflow_mlops.training.pods.PodResources`, or a mapping of its fields; enough for
        those steps that run at the same time
    :param artifacts: the artefact store as a volume, or a mapping of its fields; None if the pod has it otherwise
    :param python: interpreter in the image
    :param startup_timeout_seconds: how long the image may be pulled and the containers made
    :param schedule_timeout_seconds: how long the pod may wait for a node
    :return: the pod, as steps need it
    """

    operator_extra_links = (PodLink(), ImageLink())

    def __init__(
        self,
        *,
        image: str,
        active_deadline_seconds: int = _LIFETIME_SECONDS,
        pod_resources: PodResources | Mapping[str, Any] | None = None,
        artifacts: PodVolume | Mapping[str, Any] | None = None,
        python: str = "python",
        startup_timeout_seconds: int = _STARTUP_SECONDS,
        schedule_timeout_seconds: int = _SCHEDULE_SECONDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image=image,
            active_deadline_seconds=active_deadline_seconds,
            startup_timeout_seconds=startup_timeout_seconds,
            schedule_timeout_seconds=schedule_timeout_seconds,
            do_xcom_push=False,  # to the pod operator this means a second container
            **kwargs,
        )
        self.pod_resources = pod_resources
        self.artifacts = artifacts
        self.python = python

    def execute(self, context: Context) -> dict[str, Any]:
        """Make the pod or find it, and wait until steps can run in it."""
        with airflow_errors():
            ref = self._start(context)
        self.do_xcom_push = True
        self.log.info("Pod %s/%s is ready for steps", ref.namespace, ref.name)
        return dict(encode(ref))

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> Any:
        """Add what makes a pod wait to the user's pod; the pod operator then merges and mutates as it always does."""
        if context is None:
            return super().build_pod_request_obj(context, dry_run=dry_run)
        who = origin(context)
        parts = (who.dag_id, who.run_id, who.task_id, str(who.map_index))
        group = self._folder(parts).open()
        addition = PodGenerator.deserialize_model_dict(self._overlay(parts))
        base = self.full_pod_spec
        self.full_pod_spec = PodGenerator.reconcile_pods(base, addition) if base else addition
        self.name = pod_name(self.task_id, ArtifactStore.from_config().uri("jobs", *parts))
        self.random_name_suffix = False
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        join_group(pod, group)
        return pod

    def _start(self, context: Context) -> WarmPodRef:
        lifetime = self.active_deadline_seconds
        if isinstance(lifetime, bool) or not isinstance(lifetime, int) or lifetime <= 0:
            raise SpecificationError(
                "active_deadline_seconds", lifetime, "seconds after which the cluster ends the pod, whatever happens"
            )
        request = self.build_pod_request_obj(context)
        spec = self.client.api_client.sanitize_for_serialization(request.spec)
        request.metadata.labels[SPEC_LABEL] = label_value("spec", digest_of(spec))
        warm = WarmPods(PodClient(self.client, request.metadata.namespace))
        uid, made = warm.ensure(request, self.base_container_name)
        self.pod = request  # by which it is removed when this task is killed
        show_pod(context, request.metadata.namespace, request.metadata.name)
        self.log.info("%s pod %s/%s", "Made" if made else "Found", request.metadata.namespace, request.metadata.name)
        ref = WarmPodRef(
            namespace=request.metadata.namespace,
            name=request.metadata.name,
            uid=uid,
            container=self.base_container_name,
            python=self.python,
            setup=self.task_id,
        )
        try:
            warm.await_start(
                ref, schedule_seconds=self.schedule_timeout_seconds, startup_seconds=self.startup_timeout_seconds
            )
        except MLOpsError:
            self._remove(warm, ref)
            raise
        return ref

    def _remove(self, warm: WarmPods, ref: WarmPodRef) -> None:
        # The teardown of a setup that failed does not run.
        try:
            warm.delete(ref)
        except MLOpsError as error:
            self.log.warning("Pod %s/%s stays until its deadline: %s", ref.namespace, ref.name, error)

    def _folder(self, parts: tuple[str, ...]) -> AttemptFolder:
        store = ArtifactStore.from_config()
        path = local_path(store.uri("jobs", *parts))
        if path is None:
            raise SpecificationError(
                "[mlops] artifact_root",
                str(store.root),
                "a folder (file://…) that is a volume of the worker and of the pod; a bucket can be mounted as one",
            )
        return AttemptFolder(Path(path))

    def _overlay(self, parts: tuple[str, ...]) -> dict[str, Any]:
        return pod_overlay(
            container=self.base_container_name,
            command=idle_command(self.python),
            labels={_WARM_POD_LABEL: label_value(ArtifactStore.from_config().uri(), *parts)},
            annotations={},
            resources=_value(PodResources, self.pod_resources) or PodResources(),
            artifacts=_value(PodVolume, self.artifacts),
            group=None,
        )


def _value(cls: type[Any], given: Any) -> Any:
    return decode(cls, dict(given)) if isinstance(given, Mapping) else given
