"""A watcher of a model against a real MLflow server: every version once, whatever becomes of the triggerer."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager

import pytest
from airflow.sdk import Asset, AssetWatcher
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseEventTrigger
from airflow.triggers.shared_stream import SharedStreamManager

pytest.importorskip("mlflow")

from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import ContractError
from airflow_mlops.governance.awaited import ModelVersionEvent
from airflow_mlops.governance.versions import model_tags
from airflow_mlops.references import ModelRef
from airflow_mlops.triggers.events import from_payload
from airflow_mlops.triggers.model_version import ModelVersionTrigger

pytestmark = pytest.mark.stack
MODEL = ModelRef(uri="file:///m", digest="sha256:" + "0" * 64, format="mlflow", size_bytes=1)


class AssetState(dict):
    """What an asset's state store keeps; it outlives every triggerer."""

    async def aget(self, key):
        return self.get(key)

    async def aset(self, key, value):
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def name() -> str:
    return f"watched-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def client(mlflow_server, connection, name):
    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    with MLflowServer(tracking_uri=mlflow_server).session("a test") as client:
        yield client


@pytest.fixture
def register(client, name):
    def make(tags=None) -> str:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        return client.create_model_version(
            name, source="s3://b/m", tags=model_tags(MODEL) if tags is None else tags
        ).version

    return make


def _trigger(state: AssetState | None, **arguments) -> ModelVersionTrigger:
    trigger = ModelVersionTrigger(**({"poll_seconds": 0.05} | arguments))
    trigger.asset_state_store = state
    return trigger


class Triggerer:
    """What Airflow's triggerer does with a watcher: events are stored, and the stream is told so."""

    def __init__(self, trigger, *, stores: bool = True) -> None:
        self.trigger = trigger
        self.stores = stores
        self.events: list[ModelVersionEvent] = []
        self.manager = SharedStreamManager(log=None, max_subscriber_queue=100)
        self.key = trigger.shared_stream_key()

    async def run(self) -> None:
        stream = self.manager.subscribe(trigger_id=1, trigger=self.trigger, key=self.key)
        async for event in self.trigger.filter_shared_stream(stream):
            seq = self.manager.bind_pending_event(trigger_id=1, key=self.key)
            if self.stores:
                self.events.append(from_payload(ModelVersionEvent, json.loads(json.dumps(event.payload))))
                self.manager.confirm_persisted([seq])

    async def until(self, count: int) -> None:
        while len(self.events) < count:  # noqa: ASYNC110 - what is waited for is in a database
            await asyncio.sleep(0.02)

    @property
    def told(self) -> list[str]:
        return [event.version for event in self.events]


@asynccontextmanager
async def running(trigger, **options):
    one = Triggerer(trigger, **options)
    task = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(30):
            yield one
            await asyncio.sleep(0.3)  # nothing more may come
    finally:
        task.cancel()
        await asyncio.wait([task])
        await one.manager.unsubscribe(1, one.key)
        await one.manager.stop_all()


async def _watching(state: AssetState) -> None:
    while not state:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def test_each_new_version_is_told_of_once_over_restarts(register, name):
    state = AssetState()
    register()

    async def scenario():
        async with running(_trigger(state, model_name=name)) as first:
            await _watching(state)
            await asyncio.to_thread(lambda: [register(), register()])
            await first.until(2)
        await asyncio.to_thread(register)  # while no triggerer runs
        async with running(_trigger(state, model_name=name)) as second:
            await second.until(1)
        async with running(_trigger(state, model_name=name)) as third:
            await asyncio.sleep(0.3)
        return first, second, third

    first, second, third = asyncio.run(scenario())
    assert (first.told, second.told, third.told) == (["2", "3"], ["4"], [])
    assert first.events[0].model == MODEL
    assert first.events[0].digest == MODEL.digest
    assert len({event.key for event in (*first.events, *second.events)}) == 3


def test_what_airflow_did_not_store_is_told_of_again(register, name):
    state = AssetState()

    async def scenario():
        async with running(_trigger(state, model_name=name, after_version="0"), stores=False):
            await asyncio.to_thread(register)
            await asyncio.sleep(0.5)
        async with running(_trigger(state, model_name=name)) as second:
            await second.until(1)
        return second

    assert asyncio.run(scenario()).told == ["1"]
    assert list(state.values()) == [{"seen": "1"}]


def test_moves_of_an_alias_are_told_of(client, register, name):
    state = AssetState()
    for _ in range(2):
        register()

    async def scenario():
        async with running(_trigger(state, model_name=name, alias="champion")) as watcher:
            await _watching(state)
            for count, version in enumerate(["1", "2", "1"], start=1):
                await asyncio.to_thread(client.set_registered_model_alias, name, "champion", version)
                await watcher.until(count)
            await asyncio.to_thread(client.delete_registered_model_alias, name, "champion")
        return watcher

    watcher = asyncio.run(scenario())
    moves = [(event.kind, event.previous, event.version) for event in watcher.events]
    assert moves == [("alias", None, "1"), ("alias", "1", "2"), ("alias", "2", "1")]
    assert list(state.values()) == [{"seen": ""}]


def test_what_is_there_is_told_of_on_request_and_foreign_versions_may_be_passed_over(register, name):
    state = AssetState()
    register()
    register(tags={"team": "other"})
    register()

    async def scenario():
        trigger = _trigger(state, model_name=name, after_version="0", tag="mlops.model_digest")
        async with running(trigger) as watcher:
            await watcher.until(2)
        return watcher

    assert asyncio.run(scenario()).told == ["1", "3"]


def test_a_version_without_our_tags_names_no_files(register, name):
    async def scenario():
        async with running(_trigger(AssetState(), model_name=name, after_version="0")) as watcher:
            await asyncio.to_thread(register, {"team": "other"})
            await watcher.until(1)
        return watcher

    (event,) = asyncio.run(scenario()).events
    assert (event.version, event.model, event.tags) == ("1", None, {"team": "other"})


def test_a_server_that_is_away_is_asked_again(register, connection, free_port, mlflow_server, name, capsys):
    state = AssetState()
    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}")

    async def scenario():
        async with running(_trigger(state, model_name=name, after_version="0")) as watcher:
            await asyncio.sleep(0.3)
            connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
            await asyncio.to_thread(register)
            await watcher.until(1)
        return watcher

    assert asyncio.run(scenario()).told == ["1"]
    assert "does not answer" in capsys.readouterr().out


def test_it_keeps_its_cursor_without_shared_streams(register, name):
    state = AssetState()

    async def take(count: int) -> list[str]:
        events = _trigger(state, model_name=name, after_version="0").run()
        found = [await anext(events) for _ in range(count)]
        following = asyncio.create_task(anext(events))  # what was taken is stored when more is asked for
        await asyncio.sleep(0.3)
        following.cancel()
        await asyncio.wait([following])
        return [event.payload["version"] for event in found]

    for _ in range(3):
        register()
    assert asyncio.run(take(3)) == ["1", "2", "3"]
    register()
    assert asyncio.run(take(1)) == ["4"]


def test_it_survives_the_database_and_serves_a_watcher(name):
    trigger = ModelVersionTrigger(model_name=name, alias="champion", poll_seconds=5)
    path, arguments = trigger.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == trigger.serialize()
    other = ModelVersionTrigger(model_name=name, poll_seconds=5)
    assert again.shared_stream_key() == other.shared_stream_key()
    assert BaseEventTrigger.hash(*again.serialize()) != BaseEventTrigger.hash(*other.serialize())
    watcher = AssetWatcher(name="mlflow", trigger=trigger)
    assert Asset("champion", watchers=[watcher]).watchers == [watcher]


def test_without_an_assets_state_it_refuses(name):
    async def first():
        return await anext(_trigger(None, model_name=name).run())

    with pytest.raises(ContractError, match="only an asset's state keeps its cursor"):
        asyncio.run(first())
