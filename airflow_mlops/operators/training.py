"""Operators that train models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.links.base import PushedLink
from airflow_mlops.links.mlflow import MLflowRunLink
from airflow_mlops.links.pages import ModelLink
from airflow_mlops.operators.local_job import LocalJobOperator, dataset_refs, local_ref
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.references import DatasetRef, ModelRef
    from airflow_mlops.training.contract import JobRequest, JobResult

__all__ = ["TrainLocallyOperator", "publish_model"]


class TrainLocallyOperator(LocalJobOperator):
    """Train in the model environment on this machine, as a process that survives the worker.

    The script gets one request and leaves one result (see :mod:`airflow_mlops.training.contract`); what it prints
    appears in the task's log while it runs. A retry finds a job that still runs and waits for it, and does not repeat
    one that succeeded. The task succeeds only when every file of the job was verified and a model is there.

    Returns ``model`` (encoded ModelRef), ``metrics``, ``summary``, ``job_uri`` and ``mlflow_run_id``.

    :param entrypoint: the training script; relative paths begin at the DAG's folder (templated)
    :param datasets: role to an encoded DatasetRef or a list of them, for example ``{"train": [...]}`` (templated)
    :param model_name: name of the model, also of the MLflow experiment (templated)
    :param parameters: settings for the script, JSON values (templated)
    :param models: role to an encoded ModelRef, for scripts that start from a model (templated)
    :param python: interpreter of the model environment; None for the option ``[mlops] model_python``
    :param environment: variables for the process, which sees nothing of the worker's own (templated)
    :param timeout_seconds: how long the job may take, counted from its start, whichever try started it
    :param mlflow_conn_id: connection of type ``mlflow`` to log to; None for no tracking
    """

    template_fields: Sequence[str] = ("entrypoint", "datasets", "model_name", "parameters", "models", "environment")
    operator_extra_links: tuple[PushedLink, ...] = (MLflowRunLink(), ModelLink())
    ui_color = "#e3f2fd"
    trains = True

    def __init__(
        self,
        *,
        entrypoint: str,
        datasets: Mapping[str, Any],
        model_name: str,
        parameters: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 3600,
        mlflow_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.entrypoint = entrypoint
        self.datasets = datasets
        self.model_name = model_name
        self.parameters = parameters
        self.models = models
        self.python = python
        self.environment = environment
        self.timeout_seconds = timeout_seconds
        self.mlflow_conn_id = mlflow_conn_id

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job and publish the model."""
        store = ArtifactStore.from_config()
        entrypoint = self._script()
        request = self._request(context, store, entrypoint)
        environment = {"MLFLOW_DISABLE_TELEMETRY": "true", **(self.environment or {})}
        if self.mlflow_conn_id is None:
            return self._train(context, store, request, entrypoint, environment)
        return self._train_tracked(context, store, request, entrypoint, environment)

    def _train_tracked(
        self,
        context: Context,
        store: ArtifactStore,
        request: JobRequest,
        entrypoint: str,
        environment: Mapping[str, str],
    ) -> dict[str, Any]:
        from dataclasses import replace

        from airflow_mlops.hooks.mlflow import MLflowHook
        from airflow_mlops.operators.tracking import begin_run, end_run

        tracking = begin_run(context, self.mlflow_conn_id, self.model_name)
        variables = MLflowHook(str(self.mlflow_conn_id)).server.credentials | dict(environment)
        run_id = tracking.run_id if tracking else None
        try:
            returned = self._train(context, store, replace(request, tracking=tracking), entrypoint, variables)
        except Exception:
            end_run(self.mlflow_conn_id, run_id, "FAILED")
            raise
        end_run(self.mlflow_conn_id, run_id, "FINISHED")
        return returned

    def _train(
        self,
        context: Context,
        store: ArtifactStore,
        request: JobRequest,
        entrypoint: str,
        environment: Mapping[str, str],
    ) -> dict[str, Any]:
        directory, parts, result = self.run_job(context, store, request, entrypoint=entrypoint, environment=environment)
        model = publish_model(store, directory, parts, result)
        self.log.info("Trained %s: %s", model.uri, result.metrics)
        return {
            "model": encode(model),
            "metrics": dict(result.metrics),
            "summary": dict(result.summary),
            "job_uri": f"file://{directory}",
            "mlflow_run_id": request.tracking.run_id if request.tracking else None,
        }

    def _script(self) -> str:
        path = Path(self.entrypoint)
        folder = dag_folder(self)
        if not path.is_absolute() and folder is not None:
            path = Path(folder) / path
        if not path.is_file():
            raise SpecificationError("entrypoint", str(path), "the path of a Python file that exists")
        return str(path)

    def _request(self, context: Context, store: ArtifactStore, entrypoint: str) -> JobRequest:
        from airflow_mlops.manifest import manifest_of
        from airflow_mlops.references import ModelRef
        from airflow_mlops.training.contract import JobRequest

        if not isinstance(self.datasets, Mapping) or not self.datasets:
            raise SpecificationError("datasets", self.datasets, "a mapping from role to datasets")
        who = origin(context)
        datasets: dict[str, tuple[DatasetRef, ...]] = {
            role: dataset_refs(store, given, where=f"datasets.{role}") for role, given in self.datasets.items()
        }
        models = {
            role: local_ref(store, decode(ModelRef, given, where=f"models.{role}"))
            for role, given in (self.models or {}).items()
        }
        return JobRequest(
            kind="train",
            job_id="/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index))),
            output_uri="",
            datasets=datasets,
            models=models,
            parameters=dict(self.parameters or {}),
            code_digest=manifest_of(Path(entrypoint)).digest,
        )


def publish_model(store: ArtifactStore, directory: Path, parts: Sequence[str], result: JobResult) -> ModelRef:
    """Bring the model of a verified job into the store and name it.

    :param directory: the job's directory
    :param parts: where the job goes below the store's root
    :raises ContractError: if the result names no model, or what it names is none in MLflow's format
    """
    from airflow_mlops.references import ModelRef

    relative = result.artifacts.get("model")
    if relative is None:
        named = ", ".join(sorted(result.artifacts)) or "none"
        raise ContractError(f"the result of the job in {directory} names no artefact 'model'; it names: {named}")
    local = directory / relative
    if not (local / "MLmodel").is_file():
        raise ContractError(f"{local}: no MLmodel file, so this is not a model in MLflow's format")
    uri, manifest = store.publish(local, *parts, *Path(relative).parts)
    return ModelRef(uri=uri, digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
