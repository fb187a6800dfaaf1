"""Promotions and roll-backs that race, and some whose process is killed, on a real MLflow server with SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from tests.registry_races import check

# Several seconds of waiting for leases, and processes that a busy machine may keep waiting much longer.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    return tmp_path


def test_one_of_several_promotions_wins_and_the_others_are_told_who(mlflow_server, files):
    check("races", mlflow_server, files)


def test_a_killed_process_leaves_no_lock_behind(mlflow_server, files):
    check("deaths", mlflow_server, files)
