"""Promotions and roll-backs that race, on a real MLflow server with SQLite; killed ones are in tests/system."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from tests.registry_races import check

# Processes that a busy machine may keep waiting for long.
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    return tmp_path


def test_one_of_several_promotions_wins_and_the_others_are_told_who(mlflow_server, files):
    check("races", mlflow_server, files)
