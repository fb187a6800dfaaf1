"""What counts, as the gateway's connection names it."""

from __future__ import annotations

import asyncio
import http.server
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics
from airflow_mlops.adapters.metrics.prometheus import PrometheusMetrics
from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.rollout.observation import Tally

Define = Callable[..., None]


class Asked(http.server.ThreadingHTTPServer):
    """Remembers the last request, and has no series."""

    daemon_threads = True
    headers: Any = None
    path = body = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        server.path, server.headers = self.path, self.headers
        server.body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "success", "data": {"result": []}}')

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def asked() -> Iterator[Asked]:
    server = Asked(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def gateway(connection: Define, tmp_path: Path) -> Callable[[Any], ModelGatewayHook]:
    def define(metrics: Any) -> ModelGatewayHook:
        extra = {"admin_url": "http://127.0.0.1:9", "directory": str(tmp_path / "gateway"), "metrics": metrics}
        connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", extra=extra)
        return ModelGatewayHook()

    return define


@pytest.mark.parametrize("given", [None, "", "envoy", {"source": "envoy"}, '{"source": "envoy"}'])
def test_an_envoy_counts_by_itself(gateway: Callable[[Any], ModelGatewayHook], given: Any) -> None:
    assert isinstance(gateway(given).metrics(), EnvoyStatistics)


def test_prometheus_is_asked_by_its_connection(
    gateway: Callable[[Any], ModelGatewayHook], connection: Define, asked: Asked
) -> None:
    connection(
        "watch", conn_type="http", host="http://127.0.0.1/prom", port=asked.server_address[1], extra={"token": "s3cret"}
    )
    given = {
        "source": "prometheus",
        "conn_id": "watch",
        "series": "istio",
        "labels": {"namespace": "ml"},
        "target": {"destination_service_name": "{target}-predictor"},
    }
    for form in (given, json.dumps(given)):
        hook = gateway(form)
        assert hook.metrics().read(["m-v1"], slow_ms=None) == {}
        assert asked.path == "/prom/api/v1/query"
        assert asked.headers["authorization"] == "Bearer s3cret"
        assert "istio_requests_total" in asked.body
        assert "namespace%3D%22ml%22" in asked.body
        assert "destination_service_name%3D~%22m%5C%5C-v1%5C%5C-predictor%22" in asked.body
        assert "destination_workload" not in asked.body


def test_prometheus_by_its_name_alone_and_series_of_ones_own(
    gateway: Callable[[Any], ModelGatewayHook], connection: Define, asked: Asked
) -> None:
    port = asked.server_address[1]
    connection("prometheus_default", conn_type="http", host="127.0.0.1", port=port, login="ada", password="s3cret")
    assert gateway("prometheus").metrics().read(["m-v1"], slow_ms=None) == {}
    assert asked.headers["authorization"].startswith("Basic ")
    series = {
        "target": {"service": "{target}.ml.svc"},
        "requests": {"metric": "http_requests_total"},
        "errors": {"metric": "http_requests_total", "labels": {"status": "5.."}},
    }
    assert gateway({"source": "prometheus", "series": series}).metrics().read(["m-v1"], slow_ms=None) == {}
    assert "http_requests_total" in asked.body


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("envoy", "envoy_cluster"), ("istio", "istio_requests"), ("replica_ratio", "mlops_model_request")],
)
def test_what_series_are_called_goes_by_the_kind_of_gateway(
    connection: Define, asked: Asked, tmp_path: Path, kind: str, metric: str
) -> None:
    connection("prometheus_default", conn_type="http", host="127.0.0.1", port=asked.server_address[1])
    extra = {"kind": kind, "namespace": "ml", "directory": str(tmp_path), "metrics": "prometheus"}
    connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", extra=extra)
    assert ModelGatewayHook().metrics().read(["m-v1"], slow_ms=None) == {}
    assert metric in asked.body


def test_a_trigger_reads_all_connections_before_it_looks(
    gateway: Callable[[Any], ModelGatewayHook],
    connection: Define,
    asked: Asked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection("prometheus_default", conn_type="http", host="127.0.0.1", port=asked.server_address[1])
    gateway("prometheus")
    hook = asyncio.run(ModelGatewayHook.aopen("model_gateway_default"))
    monkeypatch.delenv("AIRFLOW_CONN_PROMETHEUS_DEFAULT")
    assert isinstance(hook.metrics(), PrometheusMetrics)


def test_predictions_and_labels_are_counted_beside(
    gateway: Callable[[Any], ModelGatewayHook], connection: Define, tmp_path: Path
) -> None:
    log = tmp_path / "predictions" / "m" / "1" / "a.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"id": "f1", "time": 1000, "prediction": 0.9}\n{"id": "f2", "time": 1000, "prediction": 0.2}\n')
    database = tmp_path / "labels.db"
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("CREATE TABLE arrivals (id TEXT, label INTEGER, arrived_at REAL)")
        opened.execute("INSERT INTO arrivals VALUES ('f1', 0, 1010)")
    (tmp_path / "labels" / "m").mkdir(parents=True)
    (tmp_path / "labels" / "m" / "labels.jsonl").write_text('{"id": "f1", "label": 0, "time": 1010}\n')
    connection("warehouse", conn_type="sqlite", host=str(database))
    predictions = {"predictions": str(tmp_path / "predictions")}
    labels = [
        {"source": "labels_files", "labels": str(tmp_path / "labels"), "age_seconds": 60, **predictions},
        {
            "source": "labels_sql",
            "conn_id": "warehouse",
            "query": "SELECT * FROM arrivals",
            "age_seconds": 60,
            **predictions,
        },
    ]
    for source in labels:
        metrics: Any = gateway({"source": "envoy", "tallies": [{"source": "prediction_log", **predictions}, source]})
        counted = [one.read(["m-v1"], ["predictions_above_0.5"]) for one in metrics.metrics()._tallies]
        assert counted[0]["m-v1"] == {"predictions_above_0.5": Tally(2, 1)}
        assert counted[1]["m-v1"] == {"labels": Tally(1, 1), "labelled": Tally(2, 1)}
        with pytest.raises(TransientAdapterError, match="Envoy's statistics"):
            metrics.metrics().read(["m-v1"], slow_ms=None, tallies=["labels"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("graphite", r"extra\.metrics: .*'graphite'.* one of envoy, prometheus, or a mapping"),
        ({"source": "graphite"}, r"extra\.metrics: .* one of envoy, prometheus"),
        ({"source": "envoy", "conn": "x"}, r"extra\.metrics\.conn: .*"),
        ({"source": "prometheus", "scrape_second": 5}, r"extra\.metrics\.scrape_second: .*scrape_seconds"),
        ({"source": "prometheus", "series": "linkerd"}, r"metrics\.series: 'linkerd' .* envoy, istio, model_server"),
        ({"source": "prometheus", "series": {"requests": {}}}, r"metrics\.series\."),
        ({"source": "prometheus", "scrape_seconds": 0}, "scrape_seconds: 0"),
        ({"source": "envoy", "tallies": 5}, r"metrics\.tallies: 5 .* a list of sources"),
        ({"source": "envoy", "tallies": "labels"}, r"metrics\.tallies: 'labels' .* a list of sources"),
        (
            {"source": "envoy", "tallies": ["x"]},
            r"tallies\[0\]\.source: 'x' .* prediction_log, labels_",
        ),
        (
            {"source": "envoy", "tallies": [{"source": "prediction_log", "predictions": "here"}]},
            r"tallies\[0\]\.predictions: 'here' .* absolute path",
        ),
        (
            {"source": "prometheus", "conn_id": "nowhere"},
            "'nowhere', host: None .* where Prometheus answers",
        ),
    ],
)
def test_what_is_wrong_is_named(
    gateway: Callable[[Any], ModelGatewayHook], connection: Define, given: Any, message: str
) -> None:
    connection("prometheus_default", conn_type="http", host="127.0.0.1")
    connection("nowhere", conn_type="http")
    gateway(given)
    hook = asyncio.run(ModelGatewayHook.aopen("model_gateway_default"))
    with pytest.raises(SpecificationError, match=message):
        hook.metrics()
