from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.exceptions import ConflictError, StaleWriteError
from airflow_mlops.governance.release import ANY, challenge, promote, roll_back
from airflow_mlops.governance.versions import PREVIOUS_CHAMPION, REJECTED, WITHDRAWN
from airflow_mlops.references import ModelRef
from airflow_mlops.testing.registry import MemoryRegistry

MODEL = ModelRef(uri="file:///m", digest="sha256:" + "0" * 64, format="mlflow", size_bytes=1)
HERE = Path(__file__).parent


class DiedError(Exception):
    """The process ended here."""


class MortalRegistry(MemoryRegistry):
    """DiedError before the n-th write."""

    writes_left: int | None = None

    def _write(self) -> None:
        if self.writes_left is not None:
            if self.writes_left == 0:
                raise DiedError
            self.writes_left -= 1

    def set_alias(self, *args, **kwargs) -> None:
        self._write()
        super().set_alias(*args, **kwargs)

    def remove_alias(self, *args, **kwargs) -> None:
        self._write()
        super().remove_alias(*args, **kwargs)

    def set_tags(self, *args, **kwargs) -> None:
        self._write()
        super().set_tags(*args, **kwargs)


def _with(count: int) -> MortalRegistry:
    registry = MortalRegistry()
    for number in range(count):
        registry.register("m", MODEL, HERE, idempotency_key=str(number), lineage={}, metrics={})
    return registry


def _alias(registry: MemoryRegistry, alias: str) -> str | None:
    found = registry.by_alias("m", alias)
    return found.version if found else None


def test_a_challenger_becomes_champion_and_remembers_who_was_before():
    registry = _with(2)
    promote(registry, "m", "1", expected=None)
    challenge(registry, registry.version("m", "2"))
    assert _alias(registry, "challenger") == "2"
    release = promote(registry, "m", "2", expected="1")
    assert (release.champion, release.previous) == ("2", "1")
    assert (_alias(registry, "champion"), _alias(registry, "challenger")) == ("2", None)


def test_a_newer_challenger_replaces_the_older_and_a_champion_never_challenges():
    registry = _with(2)
    challenge(registry, registry.version("m", "1"))
    challenge(registry, registry.version("m", "2"))
    assert _alias(registry, "challenger") == "2"
    promote(registry, "m", "2", expected=ANY)
    challenge(registry, registry.version("m", "2"))
    assert _alias(registry, "challenger") is None


def test_another_release_in_between_stops_a_promotion():
    registry = _with(3)
    promote(registry, "m", "1", expected=None)
    promote(registry, "m", "2", expected="1")
    with pytest.raises(StaleWriteError, match="the champion of 'm' is version 2, but version 1 was expected"):
        promote(registry, "m", "3", expected="1")
    with pytest.raises(StaleWriteError, match="but no version was expected"):
        promote(registry, "m", "3", expected=None)
    assert _alias(registry, "champion") == "2"


def test_a_rejected_version_cannot_be_promoted():
    registry = _with(1)
    roll_back(registry, "m", "1", reason="too slow")
    with pytest.raises(ConflictError, match="version 1 of 'm' was rejected and cannot lead: too slow"):
        promote(registry, "m", "1", expected=None)


def test_a_withdrawn_version_may_be_promoted_later():
    registry = _with(1)
    challenge(registry, registry.version("m", "1"))
    assert roll_back(registry, "m", "1", reason="the gateway was down", reject=False).champion is None
    assert _alias(registry, "challenger") is None
    assert registry.version("m", "1").tags[WITHDRAWN] == "the gateway was down"
    assert promote(registry, "m", "1", expected=None).version.tags[WITHDRAWN] == ""


def test_rolling_back_returns_to_the_one_before():
    registry = _with(2)
    promote(registry, "m", "1", expected=None)
    promote(registry, "m", "2", expected="1")
    release = roll_back(registry, "m", "2", reason="errors")
    assert (release.champion, release.previous) == ("1", "1")
    assert release.version.tags[REJECTED] == "errors"
    assert roll_back(registry, "m", "2", reason="other").version.tags[REJECTED] == "errors"


def test_rolling_back_skips_those_that_were_rejected_too():
    registry = _with(3)
    promote(registry, "m", "1", expected=None)
    promote(registry, "m", "2", expected="1")
    promote(registry, "m", "3", expected="2")
    registry.set_tags("m", "2", {REJECTED: "late finding"})
    assert roll_back(registry, "m", "3", reason="errors").champion == "1"


def test_rolling_back_the_first_champion_leaves_none():
    registry = _with(1)
    promote(registry, "m", "1", expected=None)
    assert roll_back(registry, "m", "1", reason="errors").champion is None


def test_rolling_back_a_challenger_leaves_the_champion_alone():
    registry = _with(2)
    promote(registry, "m", "1", expected=None)
    challenge(registry, registry.version("m", "2"))
    assert roll_back(registry, "m", "2", reason="errors").champion == "1"
    assert _alias(registry, "challenger") is None


def test_a_ring_of_predecessors_ends():
    registry = _with(2)
    promote(registry, "m", "1", expected=None)
    registry.set_tags("m", "1", {PREVIOUS_CHAMPION: "2"})
    registry.set_tags("m", "2", {PREVIOUS_CHAMPION: "1", REJECTED: "x"})
    assert roll_back(registry, "m", "1", reason="errors").champion is None


@given(dies_after=st.integers(0, 4), action=st.sampled_from(["promote", "roll_back"]))
def test_dying_anywhere_and_trying_again_ends_the_same(dies_after: int, action: str):
    def run(registry: MortalRegistry) -> None:
        if action == "promote":
            promote(registry, "m", "2", expected="1")
        else:
            roll_back(registry, "m", "2", reason="errors")

    def prepared() -> MortalRegistry:
        registry = _with(2)
        promote(registry, "m", "1", expected=None)
        challenge(registry, registry.version("m", "2"))
        return registry

    straight, broken = prepared(), prepared()
    run(straight)
    broken.writes_left = dies_after
    try:
        run(broken)
    except DiedError:
        broken.writes_left = None
        run(broken)
    for alias in ("champion", "challenger"):
        assert _alias(broken, alias) == _alias(straight, alias)
    assert broken.version("m", "2").tags == straight.version("m", "2").tags
