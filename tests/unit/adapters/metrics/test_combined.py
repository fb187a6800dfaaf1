"""Several sources as one: what fails makes everything unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from airflow_mlops.adapters.metrics.combined import CombinedMetrics
from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.rollout.observation import Tally
from airflow_mlops.testing.rollout import MemoryMetrics


class Counted:
    """Counts some names; with ``broken`` it does not."""

    def __init__(self, names: Sequence[str], targets: Sequence[str] = ("m-v1", "m-v2"), *, broken: str = "") -> None:
        self.names, self.targets, self.broken = names, targets, broken

    def counts(self, name: str) -> bool:
        return name in self.names

    def read(self, targets: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, Tally]]:
        if self.broken:
            raise TransientAdapterError(self.broken)
        beside = {"beside": Tally(1, 1)}
        return {target: {**dict.fromkeys(names, Tally(9, 3)), **beside} for target in targets if target in self.targets}


@pytest.fixture
def requests() -> MemoryMetrics:
    memory = MemoryMetrics()
    for target in ("m-v1", "m-v2"):
        memory.count(target, requests=10, slow=1)
    return memory


def test_requests_come_from_one_source_and_tallies_from_others(requests: MemoryMetrics) -> None:
    metrics = CombinedMetrics(requests, [Counted(["labels"]), Counted(["users", "labels"])])
    found = metrics.read(["m-v1", "m-v2", "m-v3"], slow_ms=100, tallies=["users", "labels"])
    assert found.keys() == {"m-v1", "m-v2"}
    assert (found["m-v2"].requests, found["m-v2"].slow) == (10, 1)
    assert found["m-v2"].tallies == {"users": Tally(9, 3), "labels": Tally(9, 3), "beside": Tally(1, 1)}
    assert metrics.read(["m-v1"], slow_ms=None)["m-v1"].tallies == {}


def test_a_source_that_fails_or_leaves_something_out_fails_the_look(requests: MemoryMetrics) -> None:
    broken = CombinedMetrics(requests, [Counted(["labels"], broken="the warehouse is down")])
    with pytest.raises(TransientAdapterError, match="the warehouse is down"):
        broken.read(["m-v1"], slow_ms=None, tallies=["labels"])
    partly = CombinedMetrics(requests, [Counted(["labels"], targets=["m-v1"])])
    with pytest.raises(TransientAdapterError, match="Counted has not counted labels of m-v2"):
        partly.read(["m-v1", "m-v2"], slow_ms=None, tallies=["labels"])
    requests.broken = "the proxy is down"
    with pytest.raises(TransientAdapterError, match="the proxy is down"):
        CombinedMetrics(requests, []).read(["m-v1"], slow_ms=None)


def test_a_tally_that_nobody_counts_is_named(requests: MemoryMetrics) -> None:
    with pytest.raises(SpecificationError, match="tallies: 'users' is not accepted"):
        CombinedMetrics(requests, [Counted(["labels"])]).read(["m-v1"], slow_ms=None, tallies=["users"])
