"""Whatever a rollout sees, where it stands can be published and read."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.rollout.live import LiveRollout, live_rollout
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView, Tally
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import approve, awaits_approval, begin, intended_weights
from airflow_mlops.rollout.step import step
from tests.unit.rollout.test_live import SPECS, STEPS

_COUNT = st.integers(0, 400)
_LOOKS = st.lists(st.none() | st.tuples(_COUNT, _COUNT, _COUNT, _COUNT), max_size=12)


@given(st.sampled_from(sorted(SPECS)), _LOOKS, st.booleans())
@settings(max_examples=60)
def test_what_a_rollout_publishes_is_read_as_it_was(kind, looks, approves):
    spec = decode(RolloutSpec, {"steps": STEPS, "look_seconds": 10.0} | SPECS[kind])
    state = begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=0.0)
    for look, seen in enumerate(looks, 1):
        if state.finished:
            break
        counters = None
        if seen is not None:
            tallies = {name: Tally(seen[0], min(seen[:2])) for name in spec.wanted_tallies()}
            counters = {
                name: ArmCounters(requests=count, errors=failed, timed=count, tallies=tallies)
                for name, count, failed in (("m-v2", *seen[:2]), ("m-v1", *seen[2:]))
            }
        view = RouteView(route="m", generation=look, weights=intended_weights(state))
        state, _ = step(state, Observation(route=view, counters=counters), 40.0 * look)
        if approves and awaits_approval(state):
            state = approve(state, by="ann", now=40.0 * look)
        live = live_rollout(state, now=40.0 * look)
        assert decode(LiveRollout, json.loads(json.dumps(encode(live), allow_nan=False))) == live
        assert live.weights == intended_weights(state)
