"""What must hold of the rules about calibration, robustness, budgets, leakage and freshness whatever was found."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.budgets import BudgetsReport, Latency, Percentiles
from airflow_mlops.evaluation.budgets_rule import BudgetsRule, judge_budgets
from airflow_mlops.evaluation.calibration import CalibrationReport, ModelCalibration
from airflow_mlops.evaluation.calibration_rule import CalibrationRule, judge_calibration
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.feature_power import FeaturePower
from airflow_mlops.evaluation.freshness import Age, FreshnessReport
from airflow_mlops.evaluation.freshness_rule import FreshnessRule, judge_freshness
from airflow_mlops.evaluation.leakage import EntityOverlap, LeakageReport, RowOverlap, TimeOverlap
from airflow_mlops.evaluation.leakage_rule import LeakageRule, judge_leakage
from airflow_mlops.evaluation.robustness import Disturbed, Response, RobustnessReport
from airflow_mlops.evaluation.robustness_rule import DisturbanceBounds, RobustnessRule, judge_robustness
from airflow_mlops.verdict import CheckResult, Verdict

SHARES = st.floats(0, 1)
BOUNDS = st.floats(0.001, 0.9)
WORSE = st.floats(0, 1)
SEVERITIES = st.sampled_from(["fail", "warn"])
GOODNESS = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS)


@st.composite
def estimates(draw):
    value, below, above = draw(SHARES), draw(st.floats(0, 0.3)), draw(st.floats(0, 0.3))
    return Estimate(value=value, low=value - below, high=value + above, method="made up")


def up(found, by):
    return replace(found, value=found.value + by, low=found.low + by, high=found.high + by)


def no_better(good, bad):
    assert [check.name for check in good] == [check.name for check in bad]
    for one, other in zip(good, bad, strict=True):
        assert one.reason
        assert decode(CheckResult, encode(one)) == one
        assert GOODNESS.index(other.verdict) <= GOODNESS.index(one.verdict), (one.reason, other.reason)


@st.composite
def calibrations(draw):
    value, chance = draw(SHARES), draw(st.floats(0, 0.3))
    return ModelCalibration(
        error=Estimate(value=value, low=max(0, value - chance), high=value + chance, method="made up"),
        chance=chance,
        p_value=draw(SHARES),
        grouped_p_value=draw(SHARES | st.none()),
        bins=(),
        slope=up(draw(estimates()), draw(st.floats(-1, 2))),
        intercept=up(draw(estimates()), draw(st.floats(-2, 1))),
    )


def farther(found, perfect, by):
    """The same estimate moved away from what is perfect, as long as no part of it was on the other side."""
    return up(found, by if found.low >= perfect else -by if found.high <= perfect else 0)


@given(
    calibrations(),
    st.builds(
        CalibrationRule,
        maximum_error=BOUNDS,
        significance=st.floats(0.001, 0.5),
        maximum_slope_deviation=BOUNDS,
        maximum_intercept=BOUNDS,
        severity=SEVERITIES,
    ),
    WORSE,
    SHARES,
)
def test_a_worse_calibration_is_never_judged_better(found, rule, by, likely):
    worse = replace(
        found,
        error=replace(found.error, value=found.error.value + by, high=found.error.high + by),
        p_value=found.p_value * likely,
        grouped_p_value=None if found.grouped_p_value is None else found.grouped_p_value * likely,
        slope=farther(found.slope, 1, by),
        intercept=farther(found.intercept, 0, by),
    )
    report = CalibrationReport(rows=1000, confidence=0.95, candidate=found)
    no_better(judge_calibration(report, rule), judge_calibration(replace(report, candidate=worse), rule))


@st.composite
def disturbances(draw):
    losses = {name: draw(estimates()) for name in draw(st.sets(st.sampled_from(["roc_auc", "brier"])))}
    return Disturbed(
        kind=draw(st.sampled_from(["noise", "missing", "swaps"])),
        size=draw(st.sampled_from([0.05, 0.1])),
        columns=3,
        candidate=Response(flips=draw(estimates() | st.none()), shift=0.1, losses=losses),
    )


@given(
    st.lists(disturbances(), max_size=4),
    st.builds(DisturbanceBounds, maximum_flips=BOUNDS, maximum_loss=st.just({"roc_auc": 0.1, "brier": 0.2})),
    SEVERITIES,
    WORSE,
)
def test_a_model_that_is_disturbed_more_is_never_judged_better(found, bounds, severity, by):
    rule = RobustnessRule(noise=bounds, swaps=bounds, severity=severity)
    report = RobustnessReport(rows=1000, confidence=0.95, disturbances=tuple(found))
    worse = []
    for one in found:
        response = one.candidate
        flips = None if response.flips is None else up(response.flips, by)
        losses = {name: up(loss, by) for name, loss in response.losses.items()}
        worse.append(replace(one, candidate=replace(response, flips=flips, losses=losses)))
    no_better(judge_robustness(report, rule), judge_robustness(replace(report, disturbances=tuple(worse)), rule))


@given(estimates(), estimates(), st.integers(1, 2000), st.booleans(), SEVERITIES, SEVERITIES, WORSE)
def test_a_model_that_costs_more_is_never_judged_better(p95, ratio, size, first, time_severity, severity, by):
    rule = BudgetsRule(
        maximum_p95_ms={"1": 0.5, "1000": 0.5},
        maximum_latency_ratio=0.6,
        maximum_bytes=1000,
        maximum_bytes_ratio=1.5,
        maximum_peak_bytes=1000,
        latency_severity=time_severity,
        severity=severity,
    )

    def report(more):
        times = Percentiles(p50=p95, p95=up(p95, more), p99=up(p95, more))
        latency = Latency(
            batch=1,
            repetitions=100,
            candidate=times,
            champion=None if first else times,
            ratio=None if first else up(ratio, more),
        )
        grown = size + int(1000 * more)
        return BudgetsReport(
            confidence=0.95,
            latencies=(latency,),
            candidate_bytes=grown,
            champion_bytes=None if first else 800,
            candidate_peak_bytes=grown,
        )

    no_better(judge_budgets(report(0), rule), judge_budgets(report(by), rule))


@st.composite
def leakages(draw):
    features = [
        FeaturePower(feature=f"f{number}", measure="roc_auc", power=draw(estimates()))
        for number in range(draw(st.integers(0, 3)))
    ]
    share = draw(st.floats(0, 0.5))
    return LeakageReport(
        evaluation_rows=1000,
        confidence=0.95,
        training_rows=1000,
        rows=RowOverlap(columns=3, rows=1, share=share, repeated_share=0.1) if draw(st.booleans()) else None,
        entities=(EntityOverlap(column="customer", entities=9, known=1, row_share=share),),
        time=TimeOverlap(column="day", latest_training="a", earliest_evaluation="b", rows=1, share=share),
        features=tuple(features),
        late_columns=draw(st.sampled_from([(), ("outcome",)])),
    )


@given(
    leakages(),
    st.builds(
        LeakageRule,
        maximum_row_overlap=st.floats(0, 0.5),
        maximum_entity_overlap=st.floats(0, 0.5),
        training_before_evaluation=st.booleans(),
        maximum_feature_power=BOUNDS,
        forbid_late_columns=st.booleans(),
        severity=SEVERITIES,
    ),
    st.floats(0, 0.5),
)
def test_a_candidate_that_knows_more_is_never_judged_better(found, rule, by):
    worse = replace(
        found,
        rows=found.rows and replace(found.rows, share=found.rows.share + by),
        entities=tuple(replace(one, row_share=one.row_share + by) for one in found.entities),
        time=replace(found.time, share=found.time.share + by),
        features=tuple(replace(one, power=up(one.power, by)) for one in found.features),
        late_columns=(*found.late_columns, "another"),
    )
    no_better(judge_leakage(found, rule), judge_leakage(worse, rule))


@given(st.floats(0, 100), st.floats(0.1, 100), SEVERITIES, st.floats(0, 50))
def test_older_rows_are_never_judged_better(days, bound, severity, by):
    rule = FreshnessRule(maximum_evaluation_days=bound, maximum_training_days=bound, severity=severity)

    def report(age):
        return FreshnessReport(now="n", evaluation=Age(newest="m", days=age), training=Age(newest="m", days=age))

    no_better(judge_freshness(report(days), rule), judge_freshness(report(days + by), rule))
