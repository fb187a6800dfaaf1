"""One loaded model behind KServe's interface: checks requests, answers, counts and logs every prediction.

Imported only by :mod:`airflow_mlops.container.server`, in the model environment, because it needs KServe.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model  # noqa: TID253 - see the module's docstring
from kserve.errors import InvalidInput  # noqa: TID253
from prometheus_client import Counter, Histogram

from airflow_mlops.container.batching import Batcher
from airflow_mlops.container.faults import Faults
from airflow_mlops.container.inference import MAX_ROWS, OUTPUT, Feature, Tensor, read_columns
from airflow_mlops.container.lines import LineFile
from airflow_mlops.container.model_loading import Predictor
from airflow_mlops.container.prediction_log import Prediction, row_id
from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["BadRequestError", "InjectedFaultError", "ServedModel", "features_of"]

_LOG = logging.getLogger("airflow_mlops.server")
_WARN_EVERY_SECONDS = 60.0
_KINDS = {
    "string": "string",
    "double": "number",
    "float": "number",
    "long": "integer",
    "integer": "integer",
    "boolean": "boolean",
}

PREDICTIONS = Counter("mlops_model_predictions", "Rows that were answered.", ["model", "version"])
ERRORS = Counter(
    "mlops_model_errors",
    "Requests not answered (bad_request, prediction, fault) and rows not logged (prediction_log).",
    ["model", "version", "kind"],
)
LATENCY = Histogram(
    "mlops_model_request_seconds",
    "From a request's arrival in the model to its answer or error.",
    ["model", "version"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)


class BadRequestError(InvalidInput):  # type: ignore[misc] # KServe publishes no types
    """The caller's request cannot be answered; status 400."""


class InjectedFaultError(Exception):
    """A fire drill's error; status 500."""


def features_of(predictor: Predictor) -> tuple[Feature, ...]:
    """Translate the model's signature into what requests must hold.

    :raises ContractError: on a column type that requests cannot carry
    """
    for name, kind in predictor.features.items():
        if kind not in _KINDS:
            raise ContractError(f"feature {name!r} is {kind!r}; the server takes {', '.join(_KINDS)}")
    return tuple(Feature(name=name, kind=_KINDS[kind]) for name, kind in predictor.features.items())  # type: ignore[arg-type]


class ServedModel(Model):  # type: ignore[misc] # KServe publishes no types
    """Answers inference requests with one model version.

    A prediction that cannot be logged is still answered: a full disk must not stop production. It is counted as an
    error of kind ``prediction_log`` and warned about, at once and then once a minute.

    :param name: the registered model; all versions answer under it
    :param version: the registered version
    :param server: this server's own name, for example ``flights-v3``
    :param log: receives every prediction
    :param faults: what to break on purpose
    :param batch_window_seconds: how long a request waits for others to be scored with
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        server: str,
        predictor: Predictor,
        log: LineFile,
        faults: Faults,
        batch_window_seconds: float,
    ) -> None:
        super().__init__(name)
        self._version = version
        self._server = server
        self._predictor = predictor
        self._features = features_of(predictor)
        self._dtypes = {item.name: "object" if item.kind == "string" else "float64" for item in self._features}
        self._batcher = Batcher(self._score, window_seconds=batch_window_seconds, max_rows=MAX_ROWS)
        self._log = log
        self._faults = faults
        self._generator = random.Random(faults.seed)  # noqa: S311 - chooses which requests of a drill fail
        self._unlogged = 0
        self._warned_at = -math.inf
        self._labels = {"model": name, "version": version}
        PREDICTIONS.labels(**self._labels)
        for kind in ("bad_request", "prediction", "fault", "prediction_log"):
            ERRORS.labels(**self._labels, kind=kind)
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """Describe the inputs for ``GET /v2/models/<name>``."""
        datatypes = {"string": "BYTES", "number": "FP64", "integer": "INT64", "boolean": "BOOL"}
        return [{"name": item.name, "datatype": datatypes[item.kind], "shape": [-1]} for item in self._features]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Describe the output for ``GET /v2/models/<name>``."""
        return [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}]

    async def predict(self, payload: Any, headers: Mapping[str, str] | None = None) -> Any:
        """Answer one request.

        It is logged under its own id, or else under the header ``x-request-id``, which a gateway gives to the copies
        of a request too: that is how answers of two models to the same request find each other.

        :raises BadRequestError: naming the feature that is wrong and what is accepted
        :raises InjectedFaultError: in a fire drill
        """
        started = time.perf_counter()
        kind = "prediction"
        try:
            columns = self._columns(payload)
            probabilities = await self._batcher.score(columns)
            await self._break_on_purpose()
        except SpecificationError as error:
            kind = "bad_request"
            raise BadRequestError(str(error)) from error
        except InjectedFaultError:
            kind = "fault"
            raise
        else:
            kind = ""
        finally:
            if kind:
                ERRORS.labels(**self._labels, kind=kind).inc()
            seconds = time.perf_counter() - started
            LATENCY.labels(**self._labels).observe(seconds)
        request_id = payload.id or (headers or {}).get("x-request-id") or str(uuid.uuid4())
        PREDICTIONS.labels(**self._labels).inc(len(probabilities))
        self._record(request_id, columns, probabilities, latency_ms=seconds * 1000)
        return self._response(request_id, probabilities)

    def _columns(self, payload: Any) -> dict[str, list[Any]]:
        if not isinstance(payload, InferRequest):
            accepted = f"the Open Inference Protocol v2: POST /v2/models/{self.name}/infer"
            raise SpecificationError("request", type(payload).__name__, accepted)
        tensors = [
            Tensor(name=item.name, datatype=item.datatype, shape=item.shape, data=item.data) for item in payload.inputs
        ]
        return read_columns(self._features, tensors)

    def _score(self, columns: Mapping[str, Sequence[Any]]) -> list[float]:
        import numpy as np
        import pandas as pd

        # Arrays of the right type at once; None becomes NaN in the numeric ones.
        arrays = {item.name: np.array(columns[item.name], dtype=self._dtypes[item.name]) for item in self._features}
        scores = self._predictor.predict(pd.DataFrame(arrays))
        probabilities = [float(score) for score in scores]
        rows = len(next(iter(columns.values())))
        if len(probabilities) != rows or not all(0.0 <= value <= 1.0 for value in probabilities):
            raise ContractError(
                f"{self._server}: the model gave {probabilities!r:.200} for {rows} rows, no probabilities"
            )
        return probabilities

    async def _break_on_purpose(self) -> None:
        if self._faults.delay_ms:
            await asyncio.sleep(self._faults.delay_ms / 1000)
        if self._faults.error_rate and self._generator.random() < self._faults.error_rate:
            raise InjectedFaultError(f"{self._server}: this error is a fire drill")

    def _record(
        self, request_id: str, columns: Mapping[str, list[Any]], probabilities: list[float], *, latency_ms: float
    ) -> None:
        now = time.time()
        for row, probability in enumerate(probabilities):
            prediction = Prediction(
                id=row_id(request_id, row, len(probabilities)),
                time=round(now, 6),
                model=self.name,
                version=self._version,
                features={name: column[row] for name, column in columns.items()},
                prediction=probability,
                latency_ms=round(latency_ms, 3),
            )
            try:
                self._log.append(prediction.document())
            except OSError as error:
                self._complain(error)

    def _complain(self, error: OSError) -> None:
        ERRORS.labels(**self._labels, kind="prediction_log").inc()
        self._unlogged += 1
        now = time.monotonic()
        if now - self._warned_at >= _WARN_EVERY_SECONDS:
            _LOG.warning("%s: %d predictions answered but not logged: %s", self._server, self._unlogged, error)
            self._unlogged, self._warned_at = 0, now

    def _response(self, request_id: str, probabilities: list[float]) -> Any:
        output = InferOutput(name=OUTPUT, shape=[len(probabilities)], datatype="FP64", data=probabilities)
        return InferResponse(
            response_id=request_id,
            model_name=self.name,
            model_version=self._version,
            infer_outputs=[output],
            parameters={"version": self._version, "server": self._server},
        )
