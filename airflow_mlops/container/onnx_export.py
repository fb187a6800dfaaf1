"""Export a model to ONNX and compare its answers on real rows: a job that runs where the converters are installed.

The request names the model ``source`` and the dataset ``rows``; its parameters are the fields of
:class:`~airflow_mlops.evaluation.onnx_parity.OnnxSpec` and perhaps ``loading``, an encoded
:class:`~airflow_mlops.loading.Loading`. The artefact ``model`` is a directory with the graph, what it was compared by,
and the source's sample; it is left only where parity holds.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from airflow_mlops.codec import decode, encode
from airflow_mlops.container.job import training_job
from airflow_mlops.container.model_loading import SMOKE_FILE, Predictor, load_model
from airflow_mlops.evaluation.onnx_parity import OnnxSpec, ParityReport, broken_bounds, measure_parity
from airflow_mlops.exceptions import ContractError
from airflow_mlops.loading import Loading

__all__ = ["GRAPH", "PARITY", "main"]

GRAPH = "model.onnx"
PARITY = "parity.json"

_NEEDED = ("skl2onnx", "onnx", "onnxruntime")


def main() -> None:
    """Export what the request names."""
    with training_job() as job:
        given = dict(job.parameters)
        loading = decode(Loading, given.pop("loading"), where="parameters.loading") if "loading" in given else None
        spec = decode(OnnxSpec, given, where="parameters")
        _require()
        source = load_model(*job.model("source"), loading)
        rows = _read(job.paths("rows"))
        graph = _convert(source, spec)
        found = measure_parity(
            source.predict(rows),
            _answers(graph, source, rows, spec),
            threshold=None if source.classes is None else spec.threshold,
        )
        print(_told(found))  # noqa: T201 - the job's log
        broken = broken_bounds(found, spec)
        if broken:
            raise ContractError(f"the exported model does not answer as the original: {'; '.join(broken)}")
        _write(job.output / "model", graph, source, spec, found)
        numbers = {"median_difference": found.median, "p99_difference": found.p99, "max_difference": found.maximum}
        if found.agreement is not None:
            numbers["agreement"] = found.agreement
        job.finish(metrics=numbers, artifacts={"model": "model"}, summary={"parity": encode(found)})


def _require() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ContractError(
            f"{', '.join(missing)} not installed for {sys.executable}: an export needs an environment with "
            "docker/trainer/requirements.txt and docker/trainer/onnx-requirements.txt; name its interpreter as python="
        )


def _read(paths: list[Path]) -> Any:
    import pandas as pd

    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def _convert(source: Predictor, spec: OnnxSpec) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    number = FloatTensorType if spec.numbers == "float" else DoubleTensorType
    types = [
        (name, (StringTensorType if kind == "string" else number)([None, 1])) for name, kind in source.features.items()
    ]
    # Probabilities as an array instead of a list of dictionaries.
    options = None if source.classes is None else {id(_last(source.estimator)): {"zipmap": False}}
    try:
        graph = convert_sklearn(source.estimator, initial_types=types, options=options, target_opset=spec.target_opset)
    except (
        MissingConverter,
        MissingShapeCalculator,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        kind = type(_last(source.estimator)).__name__
        raise ContractError(f"{kind} cannot be converted by skl2onnx: {_short(error)}") from error
    content: bytes = graph.SerializeToString()
    return content


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _last(estimator: Any) -> Any:
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _answers(graph: bytes, source: Predictor, rows: Any, spec: OnnxSpec) -> Any:
    """Return what the exported graph answers: the probability of class 1, or a number."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        found = session.run(None, {name: _input(rows[name], kind, spec) for name, kind in source.features.items()})
    except Exception as error:  # its errors have no common class
        raise ContractError(f"onnxruntime cannot run the exported graph: {_short(error)}") from error
    if source.classes is None:
        return np.asarray(found[0]).reshape(len(rows))
    return np.asarray(found[1])[:, source.classes.index(1)]


def _input(values: Any, kind: str, spec: OnnxSpec) -> Any:
    if kind == "string":
        # The format knows no missing text. Where an empty one means something else, there is no parity.
        return values.astype("object").where(values.notna(), "").to_numpy(dtype="object").reshape(-1, 1)
    return values.to_numpy(dtype="float32" if spec.numbers == "float" else "float64").reshape(-1, 1)


def _write(directory: Path, graph: bytes, source: Predictor, spec: OnnxSpec, found: ParityReport) -> None:
    from importlib.metadata import version

    directory.mkdir()
    (directory / GRAPH).write_bytes(graph)
    document = {
        "source": encode(source.check),
        "features": dict(source.features),
        "spec": encode(spec),
        "found": encode(found),
        "versions": {name: version(name) for name in (*_NEEDED, "scikit-learn")},
    }
    (directory / PARITY).write_text(json.dumps(document, indent=2) + "\n")
    if (source.path / SMOKE_FILE).is_file():
        shutil.copyfile(source.path / SMOKE_FILE, directory / SMOKE_FILE)


def _told(found: ParityReport) -> str:
    same = "" if found.agreement is None else f"{100 * found.agreement:.3f} % called the same; "
    return (
        f"parity on {found.rows:,} rows: {same}difference {found.median:.3g} in the median, {found.p99:.3g} at the "
        f"99th percentile, {found.maximum:.3g} at most; {found.beyond:,} rows differ by more than 0.001"
    )


if __name__ == "__main__":
    main()
