"""When to train again."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.monitoring.policy import decide_retraining, parse_finding
from airflow_mlops.verdict import Verdict


def origin(run: str = "run-1", attempt: int = 1) -> Origin:
    return Origin(dag_id="monitor", run_id=run, task_id="decide", try_number=attempt)


def finding(verdict: str = "fail", champion: str | None = "3") -> Any:
    return parse_finding({"verdict": verdict, "window": "2013-06", "champion": champion, "reason": "the gap is +0.090"})


def request(champion: str = "3", run: str = "run-1", decision: Any = "retraining") -> Evidence:
    return Evidence(
        decision=decision,
        subject="flights",
        verdict=Verdict.PASS,
        checks=(),
        origin=origin(run),
        decided_at=1.0,
        notes={"champion": champion, "window": "2013-06"},
    )


def test_drift_asks_for_a_retraining():
    decision = decide_retraining(finding(), "3", [], origin())

    assert decision.wanted
    assert decision.reason == "2013-06: the gap is +0.090"


@pytest.mark.parametrize(
    ("verdict", "said"), [("pass", "no drift was shown in 2013-06"), ("inconclusive", "too little was seen to decide")]
)
def test_without_drift_nothing_is_asked_for(verdict, said):
    decision = decide_retraining(finding(verdict), "3", [], origin())

    assert not decision.wanted
    assert said in decision.reason


def test_a_champion_is_retrained_once():
    decision = decide_retraining(finding(), "3", [request(run="run-0")], origin())

    assert not decision.wanted
    assert "already asked for while version 3 served: for 2013-06, by run 'run-0'" in decision.reason


def test_the_next_champion_may_be_retrained_again():
    assert decide_retraining(
        finding(champion="4"), "4", [request("3"), request("4", decision="drift")], origin()
    ).wanted


def test_a_second_try_of_the_same_task_repeats_its_request():
    assert decide_retraining(finding(), "3", [request(run="run-1")], origin(attempt=2)).wanted


def test_of_two_that_ask_at_once_the_first_in_the_record_wins():
    record = [request(run="run-1"), request(run="run-2")]

    assert decide_retraining(finding(), "3", record, origin("run-1")).wanted
    assert not decide_retraining(finding(), "3", record, origin("run-2")).wanted


def test_drift_of_a_former_champion_asks_for_nothing():
    decision = decide_retraining(finding(champion="2"), "3", [], origin())

    assert not decision.wanted
    assert decision.reason == "the drift was found for version 2, but version 3 serves now"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "drift: None .* the result of DetectDriftOperator"),
        ({"verdict": "fail"}, "drift.window: None .* not the result of DetectDriftOperator"),
        ({"verdict": "bad", "window": "w", "champion": "1"}, "drift.verdict: 'bad' .* one of 'pass', 'warn', 'fail'"),
    ],
)
def test_what_is_not_a_finding_is_refused(document, message):
    with pytest.raises(SpecificationError, match=message):
        parse_finding(document)
