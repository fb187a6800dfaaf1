"""What must hold of rules about groups whatever was measured."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.fairness_report import COMBINED, METRICS, FairnessColumn, FairnessReport, RateSpread
from airflow_mlops.evaluation.fairness_rule import FairnessRule, judge_fairness
from airflow_mlops.stats.spread import Spread
from airflow_mlops.verdict import Verdict

SHARES = st.floats(0.01, 1, allow_nan=False)
ERRORS = st.floats(0.001, 0.2)
ESTIMATE = Estimate(value=0.1, low=0.0, high=0.2, method="made up")
GOODNESS = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS)
patient = settings(deadline=None, max_examples=80)


def report(spreads):
    column = FairnessColumn(column="region", groups=(), small_groups={"isle": 100}, spreads=spreads)
    return FairnessReport(threshold=0.5, confidence=0.95, minimum_rows=1, minimum_cases=1, columns=(column,))


def spread(values, errors, clusters):
    size = len(values)
    return RateSpread(
        groups=tuple(f"group {number}" for number in range(size)),
        rows=(1000,) * size,
        cases=(1000,) * size,
        values=tuple(values),
        covariance=tuple(tuple(errors[one] ** 2 if one == two else 0.0 for two in range(size)) for one in range(size)),
        clusters=(clusters,) * size,
        tail=0.0125 / max(size - 1, 1),
        gap=ESTIMATE,
    )


@st.composite
def groups(draw, *, alike):
    """Rates of a few groups and their errors; all as precise as each other where ``alike``."""
    values = draw(st.lists(SHARES, min_size=2, max_size=5))
    errors = (
        [draw(ERRORS)] * len(values) if alike else draw(st.lists(ERRORS, min_size=len(values), max_size=len(values)))
    )
    return values, errors, draw(st.integers(2, 60))


@st.composite
def rules(draw, bound):
    return FairnessRule(
        column="region",
        metric=draw(st.sampled_from([*METRICS, *COMBINED])),
        severity=draw(st.sampled_from(["fail", "warn"])),
        **{bound: draw(st.floats(0.01, 0.99))},
    )


def verdict(rule, values, errors, clusters):
    spreads = {name: spread(values, errors, clusters) for name in METRICS}
    return GOODNESS.index(judge_fairness(report(spreads), rule, 1000).verdict)


def worse(values, by):
    """The group that fares worst fares worse yet."""
    lowest = values.index(min(values))
    return [value * (1 - by) if index == lowest else value for index, value in enumerate(values)]


@patient
@given(groups(alike=False), rules("max_gap"), st.floats(0, 0.9))
def test_a_wider_gap_is_never_judged_better(found, rule, by):
    values, errors, clusters = found
    assert verdict(rule, worse(values, by), errors, clusters) <= verdict(rule, values, errors, clusters)


@patient
@given(groups(alike=True), rules("min_ratio"), st.floats(0, 0.9))
def test_a_smaller_ratio_is_never_judged_better(found, rule, by):
    """Of groups that are known as well as each other: among others, who is lowest may itself be in doubt."""
    values, errors, clusters = found
    assert verdict(rule, worse(values, by), errors, clusters) <= verdict(rule, values, errors, clusters)


@patient
@given(groups(alike=False), rules("max_gap") | rules("min_ratio"), st.floats(1, 10))
def test_knowing_less_never_makes_a_pass(found, rule, factor):
    values, errors, clusters = found
    less = verdict(rule, values, [factor * error for error in errors], clusters)
    assert verdict(rule, values, errors, clusters) >= less or GOODNESS[less] is not Verdict.PASS


@patient
@given(groups(alike=False))
def test_intervals_hold_their_estimates_and_survive_the_codec(found):
    values, errors, clusters = found
    made = spread(values, errors, clusters)
    assert decode(RateSpread, encode(made)) == made
    looked_at = made.among(1, 0.95)
    assert isinstance(looked_at, Spread)
    for one in (looked_at.difference(), looked_at.ratio()):
        assert 0 <= one.low <= one.value <= one.high <= 1
