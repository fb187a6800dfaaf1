"""Waiting for versions of a model on a real MLflow server."""

from __future__ import annotations

import json
import threading
import time
import uuid

import pytest
from airflow.sdk import DAG

pytest.importorskip("mlflow")

from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.codec import encode
from airflow_mlops.governance.versions import model_tags
from airflow_mlops.references import ModelRef
from airflow_mlops.sensors import ModelVersionSensor
from airflow_mlops.triggers.events import from_payload
from airflow_mlops.triggers.model_version_wait import AwaitModelVersionTrigger, ModelVersionAwaited

pytestmark = pytest.mark.stack
MODEL = ModelRef(uri="file:///m", digest="sha256:" + "0" * 64, format="mlflow", size_bytes=1)
MODES = pytest.mark.parametrize("mode", [{"deferrable": False}, {"deferrable": True}], ids=["poke", "deferrable"])


@pytest.fixture
def name(mlflow_server, connection) -> str:
    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    return f"awaited-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def registry(mlflow_server, name):
    """Register, and do so later, while a sensor waits."""
    server, threads = MLflowServer(tracking_uri=mlflow_server), []

    class Registry:
        def register(self, **tags) -> str:
            with server.session("a test") as client:
                if not client.search_registered_models(f"name = '{name}'"):
                    client.create_registered_model(name)
                return client.create_model_version(name, source="s3://b/m", tags=model_tags(MODEL) | tags).version

        def alias(self, alias: str, version: str) -> None:
            with server.session("a test") as client:
                client.set_registered_model_alias(name, alias, version)

        def later(self, work) -> None:
            threads.append(threading.Timer(0.5, work))
            threads[-1].start()

    yield Registry()
    for thread in threads:
        thread.join()


@pytest.fixture
def wait(run_dag, name):
    def run(mode, **arguments):
        with DAG("wait", schedule=None) as dag:
            ModelVersionSensor(
                task_id="wait", model_name=name, poke_interval=0.1, **({"timeout": 60} | mode | arguments)
            )
        return run_dag(dag)

    return run


@MODES
def test_it_waits_for_a_version_and_returns_it(wait, registry, name, mode):
    registry.later(registry.register)
    run = wait(mode)
    assert run.states == {"wait": "success"}
    found = run.xcom("wait")
    assert {key: found[key] for key in ("name", "version", "model")} == {
        "name": name,
        "version": "1",
        "model": encode(MODEL),
    }
    assert run.xcom("wait", key="model") == encode(MODEL)


@MODES
def test_it_waits_for_a_newer_one(wait, registry, mode):
    registry.register()
    registry.later(registry.register)
    assert wait(mode, after_version="{{ 1 }}").xcom("wait")["version"] == "2"


@MODES
def test_it_waits_for_another_champion_even_an_older_one(wait, registry, mode):
    older, newer = registry.register(), registry.register()
    registry.alias("champion", newer)
    registry.later(lambda: registry.alias("champion", older))
    assert wait(mode, alias="champion", after_version=newer).xcom("wait")["version"] == older


@MODES
def test_it_waits_for_a_tag(wait, registry, mode):
    registry.register()
    registry.later(lambda: registry.register(approved="yes"))
    assert wait(mode, tag="approved", tag_value="yes").xcom("wait")["version"] == "2"


@MODES
def test_time_runs_out_with_a_message(wait, registry, name, mode, capsys):
    assert wait(mode, timeout=0.3).states == {"wait": "failed"}
    shown = capsys.readouterr()
    said = f"a version of '{name}' did not come within 0.3 seconds; last seen: there is none yet"
    assert said in (shown.out + shown.err)


@MODES
def test_bad_input_fails_at_once(wait, registry, mode, capsys):
    assert wait(mode, alias="production").states == {"wait": "failed"}
    shown = capsys.readouterr()
    assert "alias: 'production' is not accepted" in (shown.out + shown.err)


@MODES
def test_a_server_that_is_away_is_asked_again(wait, registry, connection, free_port, mlflow_server, mode):
    registry.register()
    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}")
    registry.later(lambda: connection("mlflow_default", conn_type="mlflow", host=mlflow_server))
    assert wait(mode).xcom("wait")["version"] == "1"


def test_the_trigger_survives_the_database_and_says_when_it_is_refused(name):
    import asyncio

    from airflow.sdk.module_loading import import_string

    trigger = AwaitModelVersionTrigger(
        mlflow_conn_id="mlflow_default",
        awaited={"model_name": "it's"},
        deadline=time.time() + 30,
        poll_seconds=0.05,
    )
    path, arguments = trigger.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == trigger.serialize()

    async def first():
        return await anext(again.run())

    event = from_payload(ModelVersionAwaited, asyncio.run(first()).payload)
    assert event.kind == "refused"
    assert "without quotes, slashes and colons" in event.message
