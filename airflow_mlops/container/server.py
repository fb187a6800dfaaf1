"""The model server: one process, one model version, the Open Inference Protocol v2 over HTTP.

``python -m airflow_mlops.container.server --name flights-v3 --model-name flights --version 3 --model-dir DIR
--digest sha256:… --port 8200 --prediction-log DIR``

The model's digest is verified before anything of it is read, and its signature where ``--loading`` asks for one. A
model that does not load ends the process with status 1 and one line that says why. It listens only once the model is
loaded, so ``/v2/health/ready`` means what it says.
KServe's SDK gives the protocol, health and metrics; gRPC is off, because it would need a second port for each version.
"""

from __future__ import annotations

import argparse
import json
import logging
import logging.config
import os
import socket
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_mlops.codec import decode
from airflow_mlops.container.faults import Faults
from airflow_mlops.container.model_signature import check_signed
from airflow_mlops.container.prediction_log import open_log
from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.loading import Loading
from airflow_mlops.manifest import verify

__all__ = ["main"]

_LOG = logging.getLogger("airflow_mlops.server")
_GRACE_SECONDS = 10
# KServe logs a traceback for each request that a client got wrong; metrics count those.
_CLIENT_ERRORS = ("InvalidInput", "ModelNotFound", "NotImplementedError")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; return the process's exit status."""
    options = _parser().parse_args(arguments)
    # One request is one row: threads inside a prediction cost more than they bring. Read when numpy is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # KServe parses the command line at import and takes prefixes of its own options for them.
    sys.argv = sys.argv[:1]
    _configure_logging()
    try:
        _serve(options)
    except (MLOpsError, OSError) as error:
        print(f"{options.name}: {error}", file=sys.stderr)  # noqa: T201 - the supervisor shows the last lines
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airflow_mlops.container.server", description="Serve one model version.")
    parser.add_argument("--name", required=True, help="this server's name, for example flights-v3")
    parser.add_argument("--model-name", required=True, help="name of the registered model, part of the URL")
    parser.add_argument("--version", required=True, help="registered version")
    parser.add_argument("--model-dir", required=True, type=Path, help="local directory in MLflow's format")
    parser.add_argument("--digest", required=True, help="sha256:… that the directory must have")
    parser.add_argument("--loading", help="how the model may be loaded: a policy with its signatures, as JSON")
    parser.add_argument("--port", required=True, type=int, help="TCP port")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--prediction-log", required=True, type=Path, help="folder of all prediction logs")
    parser.add_argument(
        "--batch-window-ms",
        type=float,
        default=5.0,
        help="milliseconds that a request waits for others to be scored with (default: %(default)s)",
    )
    parser.add_argument("--fault-error-rate", type=float, default=0.0, help="share of requests answered 500 (drills)")
    parser.add_argument("--fault-delay-ms", type=int, default=0, help="milliseconds added to every answer (drills)")
    parser.add_argument("--fault-seed", type=int, help="which requests a drill hits (default: from the name)")
    return parser


def _serve(options: argparse.Namespace) -> None:
    # Before the seconds that the imports take: what cannot work is refused at once.
    seed = zlib.crc32(options.name.encode()) if options.fault_seed is None else options.fault_seed
    faults = Faults(error_rate=options.fault_error_rate, delay_ms=options.fault_delay_ms, seed=seed)
    if not 0 <= options.batch_window_ms <= 1000:
        raise SpecificationError("batch-window-ms", options.batch_window_ms, "0 to 1000 milliseconds")
    _check_port(options.host, options.port)
    loading = _loading(options.loading)
    if loading is not None:
        check_signed(options.digest, loading)
    verify(options.model_dir, options.digest)

    from airflow_mlops.container.kserve_model import ServedModel
    from airflow_mlops.container.model_loading import load_model

    predictor = load_model(options.model_dir, options.digest, loading)
    _trust_checked_input()
    with open_log(options.prediction_log, model_name=options.model_name, version=options.version) as log:
        model = ServedModel(
            options.model_name,
            version=options.version,
            server=options.name,
            predictor=predictor,
            log=log,
            faults=faults,
            batch_window_seconds=options.batch_window_ms / 1000,
        )
        _LOG.info(
            "%s: model %s version %s, %d features, %s, on http://%s:%d, predictions in %s",
            *(options.name, options.model_name, options.version, len(predictor.features), options.digest[:19]),
            *(options.host, options.port, log.path),
        )
        if faults.active:
            _LOG.warning(
                "%s: FIRE DRILL: %.1f %% of requests fail, every answer waits %d ms, seed %d",
                *(options.name, 100 * faults.error_rate, faults.delay_ms, faults.seed),
            )
        _server(options.host, options.port).start([model])


def _loading(given: str | None) -> Loading | None:
    if given is None:
        return None
    try:
        document = json.loads(given)
    except ValueError as error:
        raise SpecificationError("loading", given, f"JSON ({error})") from error
    return decode(Loading, document, where="loading")


def _check_port(host: str, port: int) -> None:
    """Try the port; KServe's own attempt after the start speaks of it in a traceback.

    :raises SpecificationError: if it is no port, or taken
    """
    if not 1 <= port <= 65535:
        raise SpecificationError("port", port, "a TCP port from 1 to 65535")
    with socket.socket() as probe:
        # What a server that just ended leaves behind does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SpecificationError("port", port, f"one that is free on {host} ({error.strerror})") from error


def _trust_checked_input() -> None:
    """Spare scikit-learn its own checks: requests hold finite numbers only, and the estimator was validated in fit."""
    import sklearn

    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def _server(host: str, port: int) -> Any:
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from kserve import ModelServer
    from kserve.model_server import app
    from kserve.protocol.model_repository_extension import ModelRepositoryExtension

    from airflow_mlops.container.kserve_model import BadRequestError, InjectedFaultError

    class FixedRepository(ModelRepositoryExtension):  # type: ignore[misc] # KServe publishes no types
        """Which model a server serves is the supervisor's decision, not a caller's."""

        async def load(self, model_name: str) -> None:
            raise BadRequestError(f"model {model_name!r}: this server serves one version and loads no other")

        async def unload(self, model_name: str) -> None:
            raise BadRequestError(f"model {model_name!r}: this server serves one version; stop the server instead")

    class Server(ModelServer):  # type: ignore[misc]
        """KServe's server on a chosen address, where the SDK itself would listen on all, and without its timings."""

        async def _serve(self) -> None:
            self._rest_server.config.host = host
            # Its one middleware asks the system for the CPU time twice per request, for a log that is off.
            self._rest_server._add_middlewares = lambda _app: None  # noqa: SLF001 - no public way; the version is pinned
            await super()._serve()

    server = Server(
        http_port=port, workers=1, enable_grpc=False, enable_latency_logging=False, grace_period=_GRACE_SECONDS
    )
    server.model_repository_extension = FixedRepository(model_registry=server.registered_models)
    # KServe sets a class that FastAPI has deprecated: a warning for every answer.
    app.router.default_response_class = JSONResponse
    app.add_exception_handler(RequestValidationError, _invalid_body)
    app.add_exception_handler(BadRequestError, _answer(400))
    app.add_exception_handler(InjectedFaultError, _answer(500))
    logging.getLogger("kserve").addFilter(_keep)
    return server


def _answer(status: int) -> Any:
    from fastapi.responses import JSONResponse

    async def handler(_request: Any, error: Exception) -> JSONResponse:
        return JSONResponse(status_code=status, content={"error": str(error)})

    return handler


async def _invalid_body(_request: Any, error: Any) -> Any:
    """Say in one sentence what is wrong with a body that is no inference request; KServe would answer 422."""
    from fastapi.responses import JSONResponse

    problems = []
    for item in error.errors():
        place = [str(part) for part in item["loc"] if part not in ("body", "InferenceRequest")]
        if "bytes" not in place:
            problems.append(f"{'.'.join(place) or 'body'}: {item['msg']}")
    shown = "; ".join(problems[:5]) or "body: not JSON"
    accepted = 'expected {"inputs": [{"name", "shape", "datatype", "data"}, …]} as JSON'
    return JSONResponse(status_code=400, content={"error": f"{shown}; {accepted}"})


def _keep(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ not in _CLIENT_ERRORS


def _configure_logging() -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "airflow_mlops": {"level": "INFO"},
                # With a handler of its own KServe does not configure logging again.
                "kserve": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
                "uvicorn": {"level": "WARNING"},
                "uvicorn.access": {"level": "ERROR"},
            },
        }
    )


if __name__ == "__main__":
    sys.exit(main())
