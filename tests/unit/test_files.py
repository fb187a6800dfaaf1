"""Files that several processes share."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from airflow_mlops.exceptions import ContractError, TransientAdapterError
from airflow_mlops.files import atomic_write_json, atomic_write_text, file_lock, read_json


def test_json_comes_back_and_a_missing_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    assert read_json(path) is None
    atomic_write_json(path, {"ä": [1, None]})
    assert read_json(path) == {"ä": [1, None]}


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ContractError, match=r"a\.json is not JSON"):
        read_json(tmp_path / "a.json")


def test_a_write_that_fails_leaves_the_old_content_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(path, 1)
    with pytest.raises(ValueError, match="Out of range"):
        atomic_write_json(path, float("nan"))
    with pytest.raises(UnicodeEncodeError):
        atomic_write_text(path, "\ud800")
    assert read_json(path) == 1
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


def _hold(path: Path, holding: multiprocessing.Event) -> None:
    with file_lock(path):
        holding.set()
        multiprocessing.Event().wait()


def test_a_lock_is_waited_for_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    spawn = multiprocessing.get_context("spawn")
    holding = spawn.Event()
    holder = spawn.Process(target=_hold, args=(path, holding))
    holder.start()
    assert holding.wait(30)
    with (
        pytest.raises(TransientAdapterError, match=r"a\.lock stayed taken for 0\.1 s"),
        file_lock(path, wait_seconds=0.1),
    ):
        pass
    holder.kill()
    holder.join()
    with file_lock(path, wait_seconds=1):
        pass
