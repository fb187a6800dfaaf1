"""What the doctor says of connections and of what they lead to: a real MLflow, closed ports, servers that refuse."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.cli.doctor.areas import chosen_checks
from airflow_mlops.cli.doctor.checks import airflow, cluster, connections, gateway, mlflow, watchdog
from airflow_mlops.cli.doctor.examine import examine
from airflow_mlops.cli.doctor.finding import Finding
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.local.home import LocalHome

SECRET = "t0p-s3cret"


class Answers(ThreadingHTTPServer):
    """Answers each path with a status and a text; 404 where it knows nothing. Wants a token if it has one."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, str]] = {}
        self.token: str | None = None
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, text = server.known.get(self.path.split("?")[0], (404, "{}"))
        if server.token is not None and self.headers.get("Authorization") != f"Bearer {server.token}":
            status, text = 401, f"not with {self.headers.get('Authorization')}"
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def examined(area: str, *conn_ids: str, namespace: str | None = None) -> dict[str, Finding]:
    site = Site(conn_ids=conn_ids, namespace=namespace)
    return {one.check: one for one in examine(chosen_checks(site, [area]), site)}


def levels(found: Iterable[Finding]) -> dict[str, str]:
    return {one.check: one.level for one in found}


def test_what_is_not_defined_is_a_note_unless_it_was_asked_for(airflow_db: None) -> None:
    found = examined("connections", "mine")
    assert {name: one.level for name, one in found.items()} == {
        **dict.fromkeys(
            ("mlflow_default", "model_gateway_default", "docker_default", "kubernetes_default", "prometheus_default"),
            "note",
        ),
        "metadata database": "ok",
        "mine": "fail",
    }
    assert found["mlflow_default"].message == "not defined; it is for registration, promotion and tracking"


def test_without_the_database_undefined_may_mean_unseen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.orm import sessionmaker

    gone = sessionmaker(create_engine(f"sqlite:///{tmp_path}/nowhere/airflow.db"))
    monkeypatch.setattr("airflow.settings.Session", gone)
    (found,) = connections.database(Site())
    assert found.level == "warn"
    assert "unable to open database file" in found.message


def test_a_real_mlflow_is_in_order(connection: Callable[..., None], mlflow_server: str) -> None:
    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    connection("other", conn_type="mlflow", host=mlflow_server)
    found = examined("connections", "other")
    assert (found["mlflow_default"].level, found["other"].level) == ("ok", "ok")
    facts = examined("mlflow", "other")
    assert {name: one.level for name, one in facts.items()} == dict.fromkeys(
        ("mlflow_default version", "mlflow_default aliases", "other version", "other aliases"), "ok"
    )
    assert facts["other version"].message.startswith("server 3.")


def test_a_closed_port_fails(connection: Callable[..., None], free_port: int) -> None:
    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}")
    connection("prometheus_default", conn_type="http", host="127.0.0.1", port=free_port)
    found = examined("connections")
    assert (found["mlflow_default"].level, found["prometheus_default"].level) == ("fail", "fail")
    assert "does not answer" in found["mlflow_default"].message
    assert "Prometheus of connection 'prometheus_default' does not answer" in found["prometheus_default"].message
    assert "start what it leads to" in found["mlflow_default"].remedy
    assert levels(mlflow.registry(Site())) == {"mlflow_default": "fail"}


def test_a_wrong_token_fails_and_is_not_told(connection: Callable[..., None], answers: Answers) -> None:
    answers.token = "another"
    connection("mlflow_default", conn_type="mlflow", host=answers.url, password=SECRET)
    connection("prometheus_default", conn_type="http", host=answers.url, password=SECRET)
    found = {**examined("connections"), "facts": examined("mlflow")["mlflow_default"]}
    assert "401" in found["mlflow_default"].message
    assert "refuses who asks: status 401" in found["prometheus_default"].message
    assert "refuses who asks: status 401" in found["facts"].message
    assert SECRET not in json.dumps([one.message + one.remedy for one in found.values()])


def test_a_registry_without_aliases_fails(connection: Callable[..., None], answers: Answers) -> None:
    answers.known["/version"] = (200, "2.1.0")
    connection("mlflow_default", conn_type="mlflow", host=answers.url)
    found = {one.check: one for one in mlflow.registry(Site())}
    assert {name: one.level for name, one in found.items()} == {
        "mlflow_default version": "fail",
        "mlflow_default aliases": "fail",
    }
    assert found["mlflow_default version"].message.startswith("server 2.1.0, client 3.")


def test_a_connection_of_any_type_is_tested_by_its_hook(connection: Callable[..., None], answers: Answers) -> None:
    connection("api", conn_type="no_such_type", host=answers.url)
    found = examined("connections", "api")["api"]
    assert 'Unknown hook type "no_such_type"' in found.message
    assert found.level == "fail"


def a_gateway(connection: Callable[..., None], folder: Path, **extra: Any) -> ModelGatewayHook:
    given = {"directory": str(folder / "gateway"), "serving_directory": str(folder / "serving"), **extra}
    connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", port=9, extra=given)
    return ModelGatewayHook()


def serve(hook: ModelGatewayHook, route: str, target: str) -> None:
    router, store = hook.router(), hook.store()
    lease = store.acquire(route, "test", lease_seconds=60)
    router.ensure_targets(route, {target: 8201}, fencing_token=lease.token)
    router.set_weights(route, {target: 100}, fencing_token=lease.token, expected_generation=None)


def test_a_gateway_whose_proxy_is_gone(connection: Callable[..., None], tmp_path: Path, free_port: int) -> None:
    hook = a_gateway(connection, tmp_path, admin_url=f"http://127.0.0.1:{free_port}")
    assert levels(gateway.gateways(Site())) == {
        "model_gateway_default endpoint": "warn",
        "model_gateway_default routes": "note",
    }
    serve(hook, "flights", "flights-v1")
    found = {one.check: one for one in gateway.gateways(Site())}
    assert found["model_gateway_default route flights"].message == "flights-v1 100 %"
    (counted,) = gateway.metrics(Site())
    assert (counted.level, counted.check) == ("fail", "model_gateway_default")
    assert examined("connections")["model_gateway_default"].level == "fail"


def test_a_source_of_measurements_without_the_series_is_a_warning(
    connection: Callable[..., None], tmp_path: Path, answers: Answers
) -> None:
    answers.known["/api/v1/query"] = (200, '{"status": "success", "data": {"result": []}}')
    connection("prom", conn_type="http", host=answers.url)
    hook = a_gateway(connection, tmp_path, metrics={"source": "prometheus", "conn_id": "prom", "series": "envoy"})
    assert [one.message for one in gateway.metrics(Site())] == [
        "the source answers; nothing serves whose series could be looked for"
    ]
    serve(hook, "flights", "flights-v1")
    (found,) = gateway.metrics(Site())
    assert (found.level, found.check) == ("warn", "model_gateway_default flights-v1")
    assert "the source has no series of it" in found.message
    assert examined("connections", "prom")["prom"].message == "Prometheus answers queries"


def test_the_watchdog_of_an_embedded_stack(
    connection: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert levels(watchdog.watchdog(Site())) == {"watchdog": "note"}
    home = LocalHome(tmp_path)
    home.configure()
    a_gateway(connection, tmp_path)
    assert levels(watchdog.watchdog(Site())) == {"model_gateway_default": "note"}
    monkeypatch.setenv("AIRFLOW__MLOPS__LOCAL_HOME", str(tmp_path))
    (found,) = watchdog.watchdog(Site())
    assert (found.level, found.remedy) == ("warn", f"airflow mlops local up --home {tmp_path}")


def health(**changes: str | None) -> tuple[int, str]:
    found = {
        name: {"status": changes.get(name, "healthy"), f"latest_{name}_heartbeat": "2026-01-01T00:00:00Z"}
        for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
    }
    return 200, json.dumps(found)


def test_components_that_do_not_beat_fail(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", answers.url)
    answers.known["/api/v2/monitor/health"] = health(triggerer="unhealthy", dag_processor=None)
    found = {one.check: one for one in airflow.components(Site())}
    assert {name for name, one in found.items() if one.level == "fail"} == {"triggerer", "dag_processor"}
    assert found["triggerer"].message == (
        "unhealthy; last heartbeat 2026-01-01T00:00:00Z: sensors, rollouts and deferred trainings stand still"
    )
    assert found["dag_processor"].remedy == "start `airflow dag-processor`"


def test_without_an_api_server_airflow_is_asked_about_the_triggerer(
    airflow_db: None, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"http://127.0.0.1:{free_port}")
    found = {one.check: one for one in airflow.components(Site())}
    assert {name: one.level for name, one in found.items()} == {"API server": "warn", "triggerer": "fail"}
    assert found["triggerer"].message.startswith("No alive jobs found: sensors")
    assert levels(airflow.pages(Site())) == {"pages": "note"}


def test_a_triggerer_that_beats_is_enough(airflow_db: None, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.jobs.job import Job, JobState
    from airflow.sdk import timezone
    from airflow.settings import Session

    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"http://127.0.0.1:{free_port}")
    session = Session()
    job = Job(job_type="TriggererJob", state=JobState.RUNNING, latest_heartbeat=timezone.utcnow())
    session.add(job)
    session.commit()
    try:
        found = {one.check: one for one in airflow.components(Site())}
    finally:
        session.delete(job)
        session.commit()
    assert (found["triggerer"].level, found["triggerer"].message) == ("ok", "Found one alive job.")


def test_the_plugin_is_loaded() -> None:
    assert levels(airflow.plugin(Site())) == {"plugin": "ok"}


@pytest.mark.parametrize(("status", "level"), [(401, "ok"), (403, "ok"), (404, "fail"), (200, "fail"), (500, "fail")])
def test_pages_are_there_and_closed(answers: Answers, monkeypatch: pytest.MonkeyPatch, status: int, level: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", answers.url)
    answers.known["/mlops/models"] = (status, "")
    assert levels(airflow.pages(Site())) == {"pages": level}


def test_pages_open_to_all_are_for_a_machine_of_ones_own(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", answers.url)
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    answers.known["/mlops/models"] = (200, "")
    assert levels(airflow.pages(Site())) == {"pages": "note"}
    # Airflow's own application answers 200 to every address that is nobody's.
    answers.known["/mlops/doctor-absent"] = (200, "<html>")
    (found,) = airflow.pages(Site())
    assert (found.level, found.message.endswith("/mlops/models is not served by the plugin")) == ("fail", True)


def test_a_cluster_that_does_not_answer_is_told(silent_cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(cluster.rights(Site())) == {"cluster": "note"}
    given = {"image": "trainer", "namespace": "models", "config_file": silent_cluster}
    monkeypatch.setenv("MLOPS_KUBERNETES", json.dumps(given))
    found = examined("cluster")
    assert {one.level for one in found.values()} == {"fail"}
    assert "the API server of the cluster does not answer" in found["models"].message
