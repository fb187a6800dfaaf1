"""The rule about explanations: it can fail, and says why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.explanations import Agreement, ExplanationsReport, Importance
from airflow_mlops.evaluation.explanations_rule import ExplanationsRule, judge_explanations
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import EvaluationReport, Measurements
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict

NUMBERS = st.floats(-1, 1, allow_nan=False)


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, method="bootstrap")


def report(low: float, value: float, high: float) -> ExplanationsReport:
    mine, theirs = (estimate(one, one, one) for one in (0.3, 0.1))
    return ExplanationsReport(
        method="permutation",
        unit="u",
        rows=1000,
        importances=(
            Importance(column="sched_hour", candidate=mine, champion=theirs),
            Importance(column="carrier", candidate=theirs, champion=mine),
        ),
        agreement=Agreement(rank_correlation=estimate(value, low, high), top_overlap=estimate(value, low, high), top=5),
    )


@pytest.mark.parametrize(
    ("interval", "severity", "expected"),
    [
        ((0.6, 0.8, 0.9), "fail", Verdict.PASS),
        ((0.5, 0.8, 0.9), "fail", Verdict.PASS),
        ((0.1, 0.2, 0.4), "fail", Verdict.FAIL),
        ((0.1, 0.2, 0.4), "warn", Verdict.WARN),
        ((0.1, 0.6, 0.9), "fail", Verdict.INCONCLUSIVE),
        ((0.1, 0.6, 0.9), "warn", Verdict.WARN),
    ],
)
def test_the_whole_interval_decides(interval: tuple[float, float, float], severity: Any, expected: Verdict) -> None:
    rule = ExplanationsRule(min_rank_agreement=0.5, severity=severity)
    found = judge_explanations(report(*interval), rule, 4000, compared=True)
    assert found.verdict is expected
    assert found.name == "explanations.rank_agreement"
    assert (found.low, found.value, found.high, found.threshold) == (*interval, 0.5)


def test_a_failure_names_what_either_model_goes_by() -> None:
    rule = ExplanationsRule(min_rank_agreement=0.5, severity="fail")
    reason = judge_explanations(report(0.1, 0.2, 0.4), rule, 4000, compared=True).reason
    assert reason == (
        "the orders of importance correlate by 0.200 (0.100 to 0.400); minimum 0.5: candidate and champion go by "
        "different columns: the candidate most by sched_hour, the champion by carrier"
    )


def test_a_number_that_is_missing_never_passes_and_says_what_to_do() -> None:
    rule = ExplanationsRule(min_rank_agreement=0.5)
    absent = judge_explanations(None, rule, 4000, compared=True)
    assert absent.verdict is Verdict.INCONCLUSIVE
    assert "add 'explanations: {}' to the diagnostics" in absent.reason
    unagreed = ExplanationsReport(method="m", unit="u", rows=9, importances=(), unagreed="the rows come from 3 days")
    found = judge_explanations(unagreed, rule, 4000, compared=True)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "not measured: the rows come from 3 days")


def test_a_first_release_has_nothing_to_agree_with() -> None:
    found = judge_explanations(None, ExplanationsRule(min_rank_agreement=0.5), 4000, compared=False)
    assert (found.verdict, found.reason) == (Verdict.WARN, "first release: no champion to compare with")


def test_the_gate_asks_it_by_the_policy_and_warns_unless_told_otherwise() -> None:
    policy = parse_policy({"minimum_rows": {"rows": 1, "positives": 1}, "explanations": {"min_rank_agreement": 0.5}})
    assert policy.explanations == ExplanationsRule(min_rank_agreement=0.5, severity="warn")
    measured = Measurements(rows=100, positives=50, metrics={})
    found = EvaluationReport(target="y", confidence=0.95, days=10, candidate=measured, champion=measured)
    assert {one.name: one.verdict for one in judge(found, policy)}["explanations.rank_agreement"] is (
        Verdict.INCONCLUSIVE
    )


@pytest.mark.parametrize("bound", [-1.0, 1.0, 2.0])
def test_bounds_that_mean_nothing_are_refused(bound: float) -> None:
    with pytest.raises(SpecificationError, match=r"explanations\.min_rank_agreement"):
        ExplanationsRule(min_rank_agreement=bound)


@given(
    interval=st.tuples(NUMBERS, NUMBERS, NUMBERS).map(sorted),
    bound=st.floats(-0.99, 0.99),
    less=st.floats(0, 1),
    severity=st.sampled_from(["fail", "warn"]),
)
def test_agreeing_less_never_improves_the_verdict(
    interval: list[float], bound: float, less: float, severity: Any
) -> None:
    rule = ExplanationsRule(min_rank_agreement=bound, severity=severity)
    order = [Verdict.PASS, Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.FAIL]
    before = judge_explanations(report(*interval), rule, 1000, compared=True)
    after = judge_explanations(report(*(one - less for one in interval)), rule, 1000, compared=True)
    assert order.index(after.verdict) >= order.index(before.verdict)
