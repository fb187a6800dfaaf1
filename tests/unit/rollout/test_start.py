"""What is checked before a rollout begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.adapters.metrics.combined import CombinedMetrics
from airflow_mlops.adapters.traffic.replica_counts import replica_counts
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.preview import preview
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.spec import CanaryStep, LabelCheck, RolloutSpec
from airflow_mlops.rollout.start import start
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics, MemoryRolloutStore, MemoryRouter


class TenPods(MemoryRouter):
    """Makes steps of 10 %."""

    def check_weights(self, weights):
        replica_counts(weights, 10)


class Ready:
    """A fleet whose servers are ready."""

    def status(self, name):
        return ServerStatus(name=name, phase="ready", port=8080)


def begin(*shares: int) -> tuple[TenPods, MemoryRolloutStore]:
    clock, router = ManualClock(), TenPods()
    store = MemoryRolloutStore(clock)
    router.ensure_targets("m", {"m-v1": 8080}, fencing_token=0)
    router.set_weights("m", {"m-v1": 100}, fencing_token=0, expected_generation=None)
    gateway = Gateway(router=router, store=store, metrics=MemoryMetrics(), clock=clock)
    lease = store.acquire("m", "somebody", lease_seconds=60)
    spec = RolloutSpec(steps=tuple(CanaryStep(weight_percent=share) for share in shares))
    start(gateway, Ready(), lease, route="m", candidate="m-v2", spec=spec)
    return router, store


def test_a_rollout_whose_last_step_cannot_be_made_does_not_begin(monkeypatch):
    written = []
    monkeypatch.setattr(MemoryRolloutStore, "save", lambda *_, **__: written.append("state"))
    with pytest.raises(
        SpecificationError, match=r"weights\.m-v2: 25 is not accepted.*10 pods.*the nearest are 20 % and 30 %"
    ):
        begin(10, 25)
    assert written == []


def test_one_whose_steps_can_be_made_begins_without_traffic():
    router, store = begin(10, 50)
    assert dict(router.observe("m").weights) == {"m-v1": 100}
    assert store.load("m").state.candidate == "m-v2"


class LabelsAfter:
    """Counts labels at an age."""

    def __init__(self, age_seconds):
        self.age_seconds = age_seconds

    def counts(self, name):
        return name == "labels"


def test_labels_of_another_age_than_their_source_counts_are_refused_before_anything_moves():
    clock, router = ManualClock(), MemoryRouter()
    gateway = Gateway(
        router=router,
        store=MemoryRolloutStore(clock),
        metrics=CombinedMetrics(MemoryMetrics(), [LabelsAfter(86400.0)]),
        clock=clock,
    )
    lease = gateway.store.acquire("m", "somebody", lease_seconds=60)
    steps = (CanaryStep(weight_percent=10),)
    spec = RolloutSpec(steps=steps, labels=LabelCheck(age_seconds=3600))
    with pytest.raises(SpecificationError, match=r"labels\.age_seconds: 3600 is not accepted.*86400, at which"):
        start(gateway, Ready(), lease, route="m", candidate="m-v2", spec=spec)
    found = preview(gateway, Ready(), route="m", candidate="m-v2", spec=spec)
    assert any("86400, at which" in one for one in found.obstacles)
    assert router.writes == []
    agreed = RolloutSpec(steps=steps, labels=LabelCheck(age_seconds=86400))
    assert start(gateway, Ready(), lease, route="m", candidate="m-v2", spec=agreed).candidate == "m-v2"


def test_a_switch_that_died_is_taken_back_before_another_rollout_begins():
    clock = ManualClock()
    router, store = MemoryRouter(), MemoryRolloutStore(clock)
    gateway = Gateway(router=router, store=store, metrics=MemoryMetrics(), clock=clock)
    router.ensure_targets("m", {"m-v1": 8080}, fencing_token=0)
    router.set_weights("m", {"m-v1": 100}, fencing_token=0, expected_generation=None)
    switch = RolloutSpec(strategy="blue_green", steps=(CanaryStep(weight_percent=0), CanaryStep(weight_percent=100)))
    lease = store.acquire("m", "a", lease_seconds=60)
    state = start(gateway, Ready(), lease, route="m", candidate="m-v2", spec=switch)
    store.save("m", replace(state, step_index=1, sequence=1), token=lease.token, renew=True)
    router.set_weights("m", {"m-v2": 100}, fencing_token=lease.token, expected_generation=None)
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=10),))
    for holder, candidate in (("b", "m-v3"), ("c", "m-v4")):  # b dies before it moves any traffic
        clock.advance(61)
        lease = store.acquire("m", holder, lease_seconds=60)
        state = start(gateway, Ready(), lease, route="m", candidate=candidate, spec=spec)
        assert state.stable == "m-v1"
        assert dict(router.observe("m").weights) == {"m-v1": 100}
