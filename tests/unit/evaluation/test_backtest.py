"""Past decisions under a changed policy."""

from __future__ import annotations

import pytest

from airflow_mlops.codec import encode
from airflow_mlops.evaluation.backtest import PastGate, replay
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import Estimate, EvaluationReport, Measurements, Reference
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.verdict import Verdict, combine

OLD = {"absolute": [{"metric": "roc_auc", "minimum": 0.6}]}


def report(auc):
    measured = Measurements(
        rows=5000,
        positives=1000,
        metrics={"roc_auc": Estimate(value=auc, low=auc - 0.01, high=auc + 0.01, method="made up")},
    )
    reference = Reference(rows=1, label_rate=0.2, mean_prediction=0.2, brier=0.1, by_day=())
    return EvaluationReport(target="late", confidence=0.95, days=30, candidate=measured, reference=reference)


def past(auc, policy=OLD):
    found = report(auc)
    checks = judge(found, parse_policy(policy))
    evidence = Evidence(
        decision="gate",
        subject="flights",
        verdict=combine(checks),
        checks=checks,
        origin=Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        decided_at=1.0,
    )
    return PastGate(evidence=evidence, report=found)


def stricter(**changes):
    return parse_policy({"absolute": [{"metric": "roc_auc", "minimum": 0.65, **changes}]})


@pytest.mark.parametrize("auc", [0.5, 0.605, 0.7])
def test_the_same_policy_changes_nothing(auc):
    found = replay(past(auc), parse_policy(OLD))
    assert (found.changes, found.flips, found.why) == (False, False, ())
    assert found.was is found.would_be


def test_a_stricter_policy_stops_what_went_on_and_says_by_which_rule():
    found = replay(past(0.62), stricter())
    assert (found.was, found.would_be, found.flips) == (Verdict.PASS, Verdict.FAIL, True)
    (why,) = found.why
    assert why == (
        "roc_auc.minimum: was pass, would be fail: roc_auc 0.6200 (95 % interval 0.6100 to 0.6300); "
        "minimum 0.65: missed by the whole interval"
    )


def test_a_laxer_policy_lets_go_on_what_was_stopped():
    found = replay(past(0.62, policy=encode(stricter())), parse_policy(OLD))
    assert (found.was, found.would_be, found.flips) == (Verdict.FAIL, Verdict.PASS, True)
    assert found.why[0].startswith("roc_auc.minimum: was fail, would be pass: roc_auc 0.6200")


def test_a_verdict_may_change_and_nothing_flip():
    found = replay(past(0.62), stricter(severity="warn"))
    assert (found.would_be, found.changes, found.flips) == (Verdict.WARN, True, False)
    found = replay(past(0.62, policy=encode(stricter())), parse_policy({"minimum_rows": {"rows": 9000}, **OLD}))
    assert (found.was, found.would_be, found.flips) == (Verdict.FAIL, Verdict.INCONCLUSIVE, False)
    assert found.why == (
        "minimum_rows: was pass, would be inconclusive: 5,000 rows; the policy asks for 9,000, 4,000 more",
    )


def test_new_rules_and_dropped_ones_are_named():
    found = replay(
        past(0.62), parse_policy({**OLD, "absolute": [*OLD["absolute"], {"metric": "brier", "maximum": 0.2}]})
    )
    assert found.would_be is Verdict.INCONCLUSIVE
    assert found.why[0].startswith("brier.maximum: newly asked, inconclusive: not measured")
    found = replay(past(0.5), parse_policy({"non_inferiority": [{"metric": "roc_auc", "margin": 0.1}]}))
    assert (found.was, found.would_be, found.flips) == (Verdict.FAIL, Verdict.WARN, True)
    assert found.why == ("roc_auc.minimum: was fail, is no longer asked",)


def test_what_cannot_be_read_flips_nothing():
    lost = PastGate(evidence=past(0.7).evidence, report=None, unreadable="it is gone")
    found = replay(lost, stricter())
    assert (found.would_be, found.flips, found.changes, found.why) == (None, False, False, ("it is gone",))
