"""Reading evidence for pages: what is read, how far back, and that it is always the newest."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.ui.reader import EvidenceReader
from tests.airflow.ui.conftest import NOW, decision, model_ref, release


@pytest.fixture
def reader(artifact_root) -> Callable[..., EvidenceReader]:
    return lambda **more: EvidenceReader(ArtifactStore.from_config(), **more)


def _hourly(count: int) -> list[Any]:
    return [decision("drift", at=3600.0 * hour) for hour in range(1, count + 1)]


def test_looking_back_ends_where_an_overview_is_complete(reader, write_many):
    write_many(*release("1", "a"), *_hourly(40), *release("2", "b", at=9e5))
    seen = reader()
    found = seen.newest_of_each_kind(seen.chain("flights"), at_least=400)
    assert found.looked_back_to > 20
    assert {one.evidence.decision for one in found.documents} >= {"gate", "registration", "rollout", "promotion"}
    assert min(one.number for one in found.documents) > 20


def test_every_call_looks_further_back_until_all_is_known(reader, write_many):
    write_many(*release("1", "a"), *_hourly(300))
    seen = reader()
    depths = [seen.newest_of_each_kind(seen.chain("flights"), at_least=100, more=100).looked_back_to for _ in range(5)]
    assert depths == sorted(depths, reverse=True)
    assert (depths[0], depths[-1]) == (206, 1)


def test_what_was_decided_meanwhile_is_seen_at_the_next_look(reader, write):
    write(*release("1", "a"))
    seen = reader()
    seen.newest_of_each_kind(seen.chain("flights"), at_least=100)
    write(decision("gate", at=99, verdict="fail", references={"candidate": model_ref("c")}))
    found = seen.newest_of_each_kind(seen.chain("flights"), at_least=100)
    assert max(one.number for one in found.documents) == 6
    assert [one.number for one in seen.page(seen.chain("flights"), None, 3).documents] == [4, 5, 6]


def test_memory_is_bounded(reader, write_many):
    write_many(*_hourly(120))
    seen = reader(documents=30)
    chain = seen.chain("flights")
    assert len(seen.extract(chain, range(1, 121)).documents) == 120
    assert len(seen._cache) == 30


def test_a_moment_is_found_by_halving(reader, write_many):
    write_many(*_hourly(50))
    seen = reader()
    chain = seen.chain("flights")
    assert [seen.position(chain, NOW + 3600 * hour) for hour in (0, 1, 1.5, 50, 51)] == [1, 1, 2, 50, 51]


def test_many_ask_at_the_same_time(reader, write_many):
    write_many(*release("1", "a"), *_hourly(150))
    seen = reader(documents=40)

    def ask(number: int) -> tuple[int, int]:
        chain = seen.chain("flights")
        looked = seen.newest_of_each_kind(chain, at_least=200)
        return len(seen.page(chain, number, 20).documents), len(looked.documents)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(30, 155))) == {(20, 5)}


def test_an_object_store_is_read_several_at_a_time():
    attach("memory", fs=MemoryFileSystem())
    store = ArtifactStore(f"memory://bucket-{uuid4().hex}/root")
    for document in (*release("1", "a"), *release("2", "b", at=10)):
        store.write_evidence(document)
    seen = EvidenceReader(store)
    found = seen.page(seen.chain("flights"), None, 60)
    assert [one.number for one in found.documents] == list(range(1, 11))
    assert found.problems == ()
