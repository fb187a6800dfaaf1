"""Model servers asked for through files."""

from __future__ import annotations

import json

import pytest

from airflow_mlops.adapters.serving.processes import ProcessFleet
from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

MODEL = ModelRef(uri="file:///models/3", digest="sha256:" + "a" * 64, format="mlflow", size_bytes=1)


def spec(**changes):
    return ServerSpec(**({"name": "flights-v3", "model_name": "flights", "version": "3", "model": MODEL} | changes))


def test_what_was_asked_for_is_listed_and_read_back(tmp_path):
    fleet = ProcessFleet(tmp_path)
    fleet.ensure(spec())
    fleet.ensure(spec(name="flights-v10", version="10"))
    assert list(fleet.list()) == ["flights-v10", "flights-v3"]
    assert fleet.spec("flights-v3") == spec()
    assert fleet.status("flights-v3") is None


def test_the_same_spec_again_changes_nothing(tmp_path):
    fleet = ProcessFleet(tmp_path)
    fleet.ensure(spec())
    before = (tmp_path / "desired" / "flights-v3.json").stat()
    fleet.ensure(spec())
    after = (tmp_path / "desired" / "flights-v3.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_another_spec_of_the_same_name_names_the_difference(tmp_path):
    fleet = ProcessFleet(tmp_path)
    fleet.ensure(spec())
    with pytest.raises(
        PermanentAdapterError, match=r"runs already with fault_delay_ms 0 instead of 400; stop it first"
    ):
        fleet.ensure(spec(fault_delay_ms=400))
    assert fleet.spec("flights-v3") == spec()


def test_a_server_can_be_removed_twice(tmp_path):
    fleet = ProcessFleet(tmp_path)
    fleet.ensure(spec())
    fleet.remove("flights-v3")
    fleet.remove("flights-v3")
    assert list(fleet.list()) == []


def test_the_supervisors_report_is_read(tmp_path):
    (tmp_path / "status").mkdir()
    status = ServerStatus(name="flights-v3", phase="crashed", port=8200, restarts=2, since=5.0, message="digest")
    (tmp_path / "status" / "flights-v3.json").write_text(json.dumps(encode(status)))
    assert ProcessFleet(tmp_path).status("flights-v3") == status


def test_a_damaged_report_names_file_and_field(tmp_path):
    (tmp_path / "status").mkdir()
    (tmp_path / "status" / "flights-v3.json").write_text('{"name": "flights-v3", "phase": "asleep"}')
    with pytest.raises(ContractError, match=r"status/flights-v3.json: ServerStatus.phase: 'asleep'"):
        ProcessFleet(tmp_path).status("flights-v3")


def test_a_folder_that_is_not_there_says_that_no_one_would_start_servers(tmp_path):
    with pytest.raises(PermanentAdapterError, match=r"there is no serving folder here.*serving_directory"):
        ProcessFleet(tmp_path / "elsewhere").ensure(spec())


def test_a_file_that_is_being_written_is_not_listed(tmp_path):
    fleet = ProcessFleet(tmp_path)
    fleet.ensure(spec())
    (tmp_path / "desired" / ".flights-v4.json").write_text("{")
    assert list(fleet.list()) == ["flights-v3"]
