"""Waiting for files that others write while we look."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest
from airflow.sdk import DAG, ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_mlops.codec import encode
from airflow_mlops.hooks.listing import list_files
from airflow_mlops.sensors.data import DataReadySensor
from airflow_mlops.triggers.data import DataReadyEvent, DataReadyTrigger
from airflow_mlops.triggers.events import from_payload, to_payload
from airflow_mlops.validation.readiness import Arrival, Unchanged

MODES = pytest.mark.parametrize("mode", [{"deferrable": False}, {"deferrable": True}], ids=["poke", "deferrable"])


@pytest.fixture
def wait(run_dag, tmp_path):
    """Run a sensor that looks at a folder ten times a second."""

    def run(mode, **arguments):
        with DAG("wait", schedule=None) as dag:
            DataReadySensor(
                task_id="wait",
                poke_interval=0.1,
                **({"uri": str(tmp_path / "in"), "quiet_seconds": 0.8, "timeout": 60} | mode | arguments),
            )
        return run_dag(dag)

    return run


@pytest.fixture
def later():
    """Do something in a thread while the sensor waits."""
    threads = []

    def start(work):
        thread = threading.Thread(target=work)
        threads.append(thread)
        thread.start()

    yield start
    for thread in threads:
        thread.join()


@MODES
def test_a_partition_is_ready_when_it_has_stopped_growing(wait, later, tmp_path, mode):
    def deliver():
        (tmp_path / "in").mkdir()
        with (tmp_path / "in" / "part.csv").open("w") as stream:
            for _ in range(10):
                time.sleep(0.2)
                stream.write("1,2,3\n")
                stream.flush()

    later(deliver)

    run = wait(mode)

    found = run.xcom("wait")
    assert run.state == "success"
    assert (found["files"], found["size_bytes"]) == (1, 60)
    assert run.xcom("wait", "uri") == str(tmp_path / "in")


@MODES
def test_a_marker_is_waited_for(wait, later, tmp_path, mode):
    (tmp_path / "in" / "day=1").mkdir(parents=True)
    (tmp_path / "in" / "day=1" / "part.parquet").write_bytes(b"data")

    def deliver():
        time.sleep(0.5)
        (tmp_path / "in" / "day=2").mkdir()
        (tmp_path / "in" / "day=2" / "part.parquet").write_bytes(b"more data")
        (tmp_path / "in" / "_SUCCESS").touch()

    later(deliver)

    found = wait(mode, marker="_SUCCESS", quiet_seconds=3600).xcom("wait")

    assert (found["files"], found["size_bytes"]) == (2, 13)
    assert found["reason"] == "2 data file(s) with 13 bytes, and _SUCCESS is there"


@MODES
def test_a_single_file_can_be_waited_for(wait, tmp_path, mode):
    (tmp_path / "rows.csv").write_text("a\n1\n")

    assert wait(mode, uri=f"file://{tmp_path}/rows.csv", quiet_seconds=0.1).xcom("wait")["size_bytes"] == 4


@MODES
def test_time_over_says_what_was_seen_last(wait, tmp_path, mode, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "_SUCCESS").touch()

    run = wait(mode, marker="_SUCCESS", timeout=0.5)

    assert run.states == {"wait": "failed"}
    assert (
        f"{tmp_path}/in: the data were not complete within 0.5 seconds; last seen: 0 data file(s) with 0 bytes, "
        "1 expected, although _SUCCESS is there"
    ) in "".join(capsys.readouterr())


@MODES
def test_time_over_may_skip(wait, mode):
    assert wait(mode, timeout=0.3, soft_fail=True).states == {"wait": "skipped"}


@MODES
def test_wrong_arguments_fail_at_once(wait, mode, capsys):
    run = wait(mode, quiet_seconds=-1)

    assert run.states == {"wait": "failed"}
    assert "quiet_seconds: -1 is not accepted" in "".join(capsys.readouterr())


def test_the_trigger_round_trips_and_its_events_too():
    arrival = encode(Arrival(uri="/data"))
    given = {"arrival": arrival, "unchanged": None, "deadline": 1.0, "poll_seconds": 0.0}
    path, arguments = DataReadyTrigger(**given).serialize()
    assert (path, arguments) == ("airflow_mlops.triggers.data.DataReadyTrigger", given)

    event = DataReadyEvent(kind="ready", message="m", deadline=2.5, unchanged=Unchanged(fingerprint="f", since=1.5))
    assert from_payload(DataReadyEvent, json.loads(json.dumps(to_payload(event)))) == event


def test_the_trigger_says_that_looking_is_refused(tmp_path, monkeypatch):
    from airflow_mlops.exceptions import PermanentAdapterError
    from airflow_mlops.triggers import data

    def refuse(uri):
        raise PermanentAdapterError(f"{uri}: no")

    monkeypatch.setattr(data, "list_files", refuse)
    trigger = DataReadyTrigger(arrival=encode(Arrival(uri="/data")), unchanged=None, deadline=9e9, poll_seconds=0.0)

    async def first():
        return [event async for event in trigger.run()]

    (event,) = asyncio.run(first())
    assert from_payload(DataReadyEvent, event.payload) == DataReadyEvent(
        kind="refused", message="/data: no", deadline=9e9
    )


def test_object_stores_are_listed_with_sizes_and_without_folders():
    attach("memory", fs=MemoryFileSystem())
    root = ObjectStoragePath("memory://listing-bucket/2013-03")
    (root / "day=1").mkdir(parents=True, exist_ok=True)
    (root / "day=1" / "part.parquet").write_bytes(b"12345")
    (root / "_SUCCESS").write_bytes(b"")

    found = list_files(str(root))

    assert [(one.path, one.size_bytes) for one in found] == [("_SUCCESS", 0), ("day=1/part.parquet", 5)]
    assert all(one.version for one in found)
    assert list_files("memory://listing-bucket/2013-04") == ()
