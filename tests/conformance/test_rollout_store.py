"""Every store of rollouts that needs no cluster against the behaviours of all; a new one is one class here."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.testing.rollout import ManualClock, MemoryRolloutStore
from airflow_mlops.testing.store_conformance import RolloutStoreConformance


class TestMemoryRolloutStore(RolloutStoreConformance):
    @pytest.fixture
    def store(self, clock: ManualClock) -> MemoryRolloutStore:
        return MemoryRolloutStore(clock)


class TestFileRolloutStore(RolloutStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path, clock: ManualClock) -> FileRolloutStore:
        return FileRolloutStore(tmp_path, clock=clock)
