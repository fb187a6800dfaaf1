"""The operator that exports a model to ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.pages import ModelLink
from airflow_mlops.operators.local_job import LocalJobOperator, dataset_refs, local_ref
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.references import ModelRef
    from airflow_mlops.training.contract import JobRequest

__all__ = ["ExportToOnnxOperator"]

ENTRYPOINT = "airflow_mlops.container.onnx_export"


class ExportToOnnxOperator(LocalJobOperator):
    """Export a model to ONNX and show on real rows that it answers as before; without parity there is no export.

    The converters are no part of the model environment. ``python`` names the interpreter of one that has them, made
    from ``docker/trainer/requirements.txt`` and ``docker/trainer/onnx-requirements.txt``, with airflow-mlops itself.

    Returns ``model`` (encoded ModelRef with the format ``onnx``: ``model.onnx``, ``parity.json`` and the source's
    sample), ``source`` and ``parity``.

    :param model: encoded ModelRef of the scikit-learn model (templated)
    :param dataset: encoded DatasetRef, or a list of them, to compare the answers on (templated)
    :param model_name: name of the model (templated)
    :param parity: mapping, or path of a YAML file, with the fields of
        :class:`~airflow_mlops.evaluation.onnx_parity.OnnxSpec`; None for its defaults (templated)
    :param loading: how the model may be loaded: mapping, or path of a YAML file, with the fields of
        :class:`~airflow_mlops.loading.LoadingPolicy`; None for its defaults (templated)
    :param python: interpreter of an environment with the converters; None for the option ``[mlops] model_python``
    :param environment: variables for the process (templated)
    :param timeout_seconds: how long the export may take
    """

    template_fields: Sequence[str] = ("model", "dataset", "model_name", "parity", "loading", "environment")
    operator_extra_links = (ModelLink(),)
    ui_color = "#fff3e0"

    def __init__(
        self,
        *,
        model: Mapping[str, Any],
        dataset: Any,
        model_name: str,
        parity: str | Path | Mapping[str, Any] | None = None,
        loading: str | Path | Mapping[str, Any] | None = None,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 1800,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.dataset = dataset
        self.model_name = model_name
        self.parity = parity
        self.loading = loading
        self.python = python
        self.environment = environment
        self.timeout_seconds = timeout_seconds

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Run the job and publish the graph."""
        from airflow_mlops.references import ModelRef

        store = ArtifactStore.from_config()
        source = decode(ModelRef, self.model, where="model")
        request = self._request(context, store, source)
        environment = {"OMP_NUM_THREADS": "1", **(self.environment or {})}
        directory, parts, result = self.run_job(context, store, request, entrypoint=ENTRYPOINT, environment=environment)
        relative = result.artifacts.get("model")
        if relative is None:
            raise ContractError(f"the result of the job in {directory} names no artefact 'model'")
        uri, manifest = store.publish(directory / relative, *parts, *Path(relative).parts)
        exported = ModelRef(uri=uri, digest=manifest.digest, format="onnx", size_bytes=manifest.size_bytes)
        self.log.info("Exported %s to %s: %s", self.model_name, uri, result.metrics)
        return {"model": encode(exported), "source": encode(source), "parity": dict(result.summary)["parity"]}

    def _request(self, context: Context, store: ArtifactStore, source: ModelRef) -> JobRequest:
        from airflow_mlops.training.contract import JobRequest

        who = origin(context)
        # First of all, since it checks the model's signature.
        parameters = self._parameters(store, source)
        return JobRequest(
            kind="export",
            job_id="/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index))),
            output_uri="",
            datasets={"rows": dataset_refs(store, self.dataset, where="dataset")},
            models={"source": local_ref(store, source)},
            parameters=parameters,
        )

    def _parameters(self, store: ArtifactStore, source: ModelRef) -> dict[str, Any]:
        from airflow_mlops.evaluation.onnx_parity import OnnxSpec

        folder = dag_folder(self)
        given = {} if self.parity is None else load_document(self.parity, field="parity", folder=folder)
        parameters: dict[str, Any] = encode(decode(OnnxSpec, given, where="parity"))
        if self.loading is None:
            return parameters
        from airflow_mlops.hooks.model_signatures import read_loading

        loading = read_loading(self.loading, [source.digest], store=store, folder=folder)
        return {**parameters, "loading": encode(loading)}
