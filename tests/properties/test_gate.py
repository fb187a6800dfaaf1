"""What must hold of the gate whatever was measured."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import DayReference, Estimate, EvaluationReport, Measurements, Reference
from airflow_mlops.verdict import Verdict, combine

NUMBERS = st.floats(-1, 1, allow_nan=False)
REACHES = st.floats(0, 0.5, allow_nan=False)
# Deadlines measure the machine, not the gate.
patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
GOODNESS = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS)
REFERENCE = Reference(
    rows=1,
    label_rate=0.2,
    mean_prediction=0.2,
    brier=0.1,
    by_day=(DayReference(day="d", rows=1, label_sum=0, prediction_sum=0.1, brier_sum=0.0),),
)


@st.composite
def estimates(draw):
    value, below, above = draw(NUMBERS), draw(REACHES), draw(REACHES)
    return Estimate(value=value, low=value - below, high=value + above, method="made up")


@st.composite
def reports(draw):
    metrics = {name: draw(estimates()) for name in METRICS}
    rows = draw(st.integers(0, 5000))
    measured = Measurements(rows=rows, positives=draw(st.integers(0, rows)), metrics=metrics)
    champion = draw(st.booleans())
    return EvaluationReport(
        target="late",
        confidence=0.95,
        days=30,
        candidate=measured,
        champion=measured if champion else None,
        differences={name: draw(estimates()) for name in METRICS} if champion else {},
        reference=REFERENCE,
    )


@st.composite
def policies(draw):
    absolute = [
        {"metric": name, "minimum" if METRICS[name].greater_is_better else "maximum": draw(NUMBERS)}
        for name in draw(st.lists(st.sampled_from(sorted(METRICS)), unique=True, min_size=1))
    ]
    non_inferiority = [
        {"metric": name, "margin": draw(st.floats(0.001, 0.5))}
        for name in draw(st.lists(st.sampled_from(sorted(METRICS)), unique=True))
    ]
    rows = draw(st.integers(1, 3000))
    return parse_policy({"absolute": absolute, "non_inferiority": non_inferiority, "minimum_rows": {"rows": rows}})


def shifted(report, name, by):
    """The same report with one metric worse by ``by``, in whichever direction is worse."""

    def worse(found):
        change = -by if METRICS[name].greater_is_better else by
        return replace(found, value=found.value + change, low=found.low + change, high=found.high + change)

    def all_but(metrics):
        return {key: worse(found) if key == name else found for key, found in metrics.items()}

    candidate = replace(report.candidate, metrics=all_but(report.candidate.metrics))
    return replace(report, candidate=candidate, differences=all_but(report.differences))


@patient
@given(reports(), policies(), st.sampled_from(sorted(METRICS)), st.floats(0, 1))
def test_a_worse_candidate_is_never_judged_better(report, policy, name, by):
    better, worse = judge(report, policy), judge(shifted(report, name, by), policy)
    for one, other in zip(better, worse, strict=True):
        assert GOODNESS.index(other.verdict) <= GOODNESS.index(one.verdict)
    assert combine(better).promotes or not combine(worse).promotes


@patient
@given(reports(), policies(), st.floats(1, 10))
def test_wider_intervals_never_open_the_gate(report, policy, factor):
    def widen(found):
        low, high = found.value - factor * (found.value - found.low), found.value + factor * (found.high - found.value)
        return replace(found, low=min(low, found.low), high=max(high, found.high))

    candidate = replace(report.candidate, metrics={k: widen(v) for k, v in report.candidate.metrics.items()})
    wider = replace(report, candidate=candidate, differences={k: widen(v) for k, v in report.differences.items()})
    assert combine(judge(report, policy)).promotes or not combine(judge(wider, policy)).promotes


@patient
@given(reports(), policies())
def test_what_is_not_measured_never_promotes(report, policy):
    nothing = replace(report, candidate=replace(report.candidate, metrics={}), differences={})
    assert not combine(judge(nothing, policy)).promotes


@patient
@given(reports(), policies())
def test_every_judgement_has_a_reason_and_survives_the_codec(report, policy):
    for check in judge(report, policy):
        assert check.reason
        assert decode(type(check), encode(check)) == check
    assert decode(EvaluationReport, encode(report)) == report
    assert parse_policy(encode(policy)) == policy
