"""A state's text is the same, and so is the state that is read, whatever was read or written before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.clock import SystemClock
from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, LatencyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.rollout.stored import StateTexts


def _states(looks: int = 30) -> list[RolloutState]:
    """The states of a rollout that goes on, step by step, and is aborted."""
    spec = RolloutSpec(
        steps=(CanaryStep(weight_percent=20, min_seconds=4.0), CanaryStep(weight_percent=50, min_seconds=4.0)),
        latency=LatencyCheck(slow_ms=250),
    )
    now = SystemClock().now()
    states = [begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=now)]
    for look in range(looks):
        state = states[-1]
        counters = {
            name: ArmCounters(requests=look * 20 * share, errors=look // 9, timed=look * 20 * share, at=now + look)
            for name, share in intended_weights(state).items()
        }
        route = RouteView(route="m", weights=intended_weights(state), generation=1)
        states.append(step(state, Observation(route=route, counters=counters), now + look)[0])
    return [*states, abort(states[5], now, "enough")]


def test_the_text_is_the_canonical_one_at_every_look():
    texts = StateTexts()
    for state in _states():
        assert texts.write("m", state) == canonical_json(encode(state))


def test_what_is_read_is_what_was_written_and_what_a_stranger_reads():
    writer, stranger = StateTexts(), StateTexts()
    for state in _states():
        text = writer.write("m", state)
        # Another process has the text as bytes of its own.
        again = text.encode().decode()
        assert writer.read("m", again, where="state") == stranger.read("m", again, where="state") == state
        assert stranger.write("m", stranger.read("m", again, where="state")) == text


def test_what_somebody_else_wrote_meanwhile_is_read():
    texts, (first, *others) = StateTexts(), _states()
    texts.write("m", first)
    other = replace(others[-1], sequence=99)
    assert texts.read("m", canonical_json(encode(other)), where="state") == other
    assert texts.write("m", first) == canonical_json(encode(first))


def test_rollouts_do_not_mix_and_the_oldest_is_forgotten():
    texts, (first, *_, last) = StateTexts(most=2), _states()
    for name, state in (("a", first), ("b", last), ("c", first), ("a", last), ("b", first)):
        assert texts.write(name, state) == canonical_json(encode(state))
    assert len(texts._kept) == 2


def test_what_is_no_state_is_refused_and_not_remembered():
    texts = StateTexts()
    for _ in range(2):
        with pytest.raises(SpecificationError, match=r"^here\.model_name"):
            texts.read("m", "{}", where="here")
        with pytest.raises(ValueError, match="Expecting"):
            texts.read("m", "{", where="here")


def test_a_text_of_an_earlier_version_is_completed():
    state = _states()[0]
    document = encode(state)
    del document["points"], document["approved_by"]
    texts = StateTexts()
    found = texts.read("m", canonical_json(document), where="state")
    assert found == state == decode(RolloutState, document)
    assert texts.write("m", found) == canonical_json(encode(state))
