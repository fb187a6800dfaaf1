"""Rollouts kept in Leases of a real API server: the behaviours of all stores, and writers that race."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.lease_store import LEASES, LeaseRolloutStore
from airflow_mlops.exceptions import LeaseHeldError, MLOpsError, StaleWriteError
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.testing.rollout import ManualClock
from airflow_mlops.testing.store_conformance import RolloutStoreConformance, rollout_state

pytestmark = pytest.mark.system
KIND = "gateway_api"


@pytest.fixture
def objects(api: Any, namespace: str) -> Iterator[KubernetesObjects]:
    objects = KubernetesObjects(api.api_client, namespace)
    yield objects
    for name in LeaseRolloutStore(objects, kind=KIND).routes():
        objects.delete(LEASES, f"rollout-{name}")


class TestLeaseRolloutStore(RolloutStoreConformance):
    @pytest.fixture
    def store(self, objects: KubernetesObjects, clock: ManualClock) -> LeaseRolloutStore:
        return LeaseRolloutStore(objects, kind=KIND, clock=clock)


def test_of_many_that_want_a_lease_one_gets_it(objects: KubernetesObjects) -> None:
    store = LeaseRolloutStore(objects, kind=KIND)

    def acquire(holder: str) -> Lease | LeaseHeldError:
        try:
            return store.acquire("m", holder, lease_seconds=60)
        except LeaseHeldError as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(acquire, [f"holder-{number}" for number in range(8)]))
    (winner,) = (lease for lease in found if isinstance(lease, Lease))
    assert {error.holder for error in found if isinstance(error, LeaseHeldError)} == {winner.holder}


def test_states_that_race_never_go_back(objects: KubernetesObjects) -> None:
    """Triggers may run twice: whoever writes, what is stored only grows, and every refusal is said."""
    store = LeaseRolloutStore(objects, kind=KIND)
    lease = store.acquire("m", "a", lease_seconds=60)
    seen: list[int] = []

    def save(number: int) -> str:
        state = replace(rollout_state(), sequence=number)
        try:
            store.save("m", state, token=lease.token, renew=True)
        except StaleWriteError as error:
            return "late" if "too late" in str(error) or "in between" in str(error) else str(error)
        except MLOpsError as error:
            return repr(error)
        seen.append(number)
        return "stored"

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(save, range(1, 25)))
    found = store.load("m")
    assert found is not None
    assert found.state is not None
    assert set(said) <= {"stored", "late"}
    assert found.state.sequence == max(seen)
