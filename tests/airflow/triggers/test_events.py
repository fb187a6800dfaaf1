"""Events survive the way through Airflow's database, and nothing else is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_mlops.exceptions import ContractError
from airflow_mlops.triggers.events import RolloutEvent, from_payload, to_payload

EVENT = RolloutEvent(kind="act", token=3, message="set weights")


def test_an_event_round_trips_through_json() -> None:
    assert from_payload(RolloutEvent, json.loads(json.dumps(to_payload(EVENT)))) == EVENT


@pytest.mark.parametrize("payload", [None, "act", {}, {"event": "ServerEvent", "kind": "act"}])
def test_another_payload_is_refused(payload: Any) -> None:
    with pytest.raises(ContractError, match="expected a RolloutEvent"):
        from_payload(RolloutEvent, payload)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "wait"}, "one of 'act', 'ask', 'answered', 'lost', 'broken'"),
        ({"token": "3"}, "a whole number"),
        ({"mesage": ""}, "did you mean 'message'"),
    ],
)
def test_an_unreadable_event_says_why(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=f"unreadable RolloutEvent: .*{message}"):
        from_payload(RolloutEvent, {**to_payload(EVENT), **change})
