"""What a task instance asks of a training in a pod, where it lies, and what it becomes when it is done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.evidence import Origin
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.transfer import local_path
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators.training import publish_model
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.contract import JobRequest, JobResult, Kind, Tracking
from airflow_mlops.training.pods import JOB_LABEL, MODEL_LABEL, TASK_LABEL, label_value

__all__ = ["PodTraining", "attempt_name", "deliver", "pod_training"]


@dataclass(frozen=True, kw_only=True)
class PodTraining:
    """One training as one task instance asks for it.

    :param job_id: the task instance, whatever its try
    :param folder: the job's folder in the artefact store
    :param entrypoint: path or module as the container sees it
    :param request: what is asked for, but for the attempt's own directory
    :param labels: by which its pods are found
    """

    job_id: str
    folder: AttemptFolder
    entrypoint: str
    request: JobRequest
    labels: Mapping[str, str]

    def request_of(self, attempt: str) -> JobRequest:
        """Return the request of one attempt."""
        return replace(self.request, output_uri=f"file://{self.folder.directory(attempt).path}")


def attempt_name(context: Context) -> str:
    """Name the running try; names sort by time.

    Airflow gives each try an identifier that begins with the time at which it was made (UUID version 7).
    """
    ti = context["ti"]
    identifier = str(ti.id).replace("-", "")
    return f"{identifier[:12]}-{ti.try_number}-{identifier[-6:]}"


def pod_training(
    context: Context,
    *,
    kind: Kind,
    image: str,
    entrypoint: str,
    model_name: str,
    datasets: Mapping[str, Any],
    models: Mapping[str, Any],
    parameters: Mapping[str, Any],
    tracking: Tracking | None,
    needs_datasets: bool = True,
    parallelism: int = 1,
) -> PodTraining:
    """Build the training from an operator's rendered fields.

    Two tries that ask for the same thing of the same image are the same job. Whatever changes makes another one.

    :param image: what the job runs in
    :param needs_datasets: whether a job without any is refused
    :param parallelism: how many pods do the job together
    :raises SpecificationError: if a field is wrong, or the artefact store is no folder that a pod could share
    """
    who = origin(context)
    inputs: dict[str, Any] = {
        "datasets": {role: _references(DatasetRef, f"datasets.{role}", refs) for role, refs in datasets.items()},
        "models": {role: _references(ModelRef, f"models.{role}", [ref])[0] for role, ref in models.items()},
        "parameters": dict(parameters),
    }
    if needs_datasets and not inputs["datasets"]:
        raise SpecificationError("datasets", datasets, "a mapping from role to datasets")
    script, code = _script(entrypoint)
    identity = [encode(inputs), image, code or entrypoint, *([parallelism] if parallelism > 1 else [])]
    store = ArtifactStore.from_config()
    uri = store.uri("jobs", *_parts(who), digest_of(identity).removeprefix("sha256:")[:16])
    path = local_path(uri)
    if path is None:
        raise SpecificationError(
            "[mlops] artifact_root",
            str(store.root),
            "a folder (file://…) that is a volume of the worker and of the pod; a bucket can be mounted as one",
        )
    job_id, folder = "/".join(_parts(who)), AttemptFolder(path)
    return PodTraining(
        job_id=job_id,
        folder=folder,
        entrypoint=_ship(script, code, path) if script and code else entrypoint,
        request=JobRequest(
            kind=kind,
            job_id=job_id,
            output_uri=uri,
            resume_uri=f"file://{folder.checkpoints}",
            tracking=tracking,
            code_digest=code,
            **inputs,
        ),
        labels={
            JOB_LABEL: label_value(uri, "job"),
            TASK_LABEL: label_value(store.uri(), job_id),
            MODEL_LABEL: label_value(model_name),
        },
    )


def deliver(result: JobResult, folder: AttemptFolder, attempt: str, run_id: str | None) -> dict[str, Any]:
    """Turn a verified result into what the task returns.

    :raises ContractError: if it names no model
    """
    directory = folder.directory(attempt).path
    model = publish_model(ArtifactStore.from_config(), directory, (), result)
    return {
        "model": encode(model),
        "metrics": dict(result.metrics),
        "summary": dict(result.summary),
        "job_uri": f"file://{directory}",
        "mlflow_run_id": run_id,
    }


def _parts(who: Origin) -> tuple[str, str, str, str]:
    return who.dag_id, who.run_id, who.task_id, str(who.map_index)


def _references(cls: type[Any], where: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise SpecificationError(where, given, f"an encoded {cls.__name__} or a list of them")
    many = [given] if isinstance(given, Mapping) else list(given)
    refs = tuple(decode(cls, one, where=f"{where}[{position}]") for position, one in enumerate(many))
    if not refs:
        raise SpecificationError(where, many, f"at least one {cls.__name__}")
    for position, ref in enumerate(refs):
        if local_path(ref.uri) is None:
            raise SpecificationError(
                f"{where}[{position}].uri", ref.uri, "a path (file://…) on storage that is a volume of the pod"
            )
    return refs


def _script(entrypoint: str) -> tuple[Path | None, str | None]:
    """Return a script that lies on this worker, and its digest."""
    path = Path(entrypoint)
    if not path.is_absolute() or not path.is_file():
        return None, None
    return path, manifest_of(path).digest


def _ship(script: Path, digest: str, folder: Path) -> str:
    """Put a worker's script where the pod sees it: what runs is what the DAG's folder held when it was asked for."""
    target = folder / "code" / digest.removeprefix("sha256:")[:16] / script.name
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".tmp")
        shutil.copyfile(script, temporary)
        temporary.replace(target)
    return str(target)
