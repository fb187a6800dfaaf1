"""What must hold of the gate whatever was measured."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.backtest import PastGate, replay
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import (
    DayReference,
    Estimate,
    EvaluationReport,
    Measurements,
    Reference,
    SliceReport,
)
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.verdict import Verdict, combine

NUMBERS = st.floats(-1, 1, allow_nan=False)
REACHES = st.floats(0, 0.5, allow_nan=False)
SEVERITIES = st.sampled_from(["fail", "warn"])
METRIC_LISTS = st.lists(st.sampled_from(sorted(METRICS)), unique=True, max_size=2)
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
def slices(draw):
    """A few slices with every number, or some; two columns."""
    found = []
    for value in range(draw(st.integers(0, 4))):
        rows = draw(st.integers(1, 1000))
        metrics = {name: draw(estimates()) for name in draw(st.lists(st.sampled_from(sorted(METRICS)), unique=True))}
        measured = Measurements(rows=rows, positives=0, metrics=metrics, days=draw(st.integers(2, 40) | st.none()))
        found.append(
            SliceReport(
                column=draw(st.sampled_from(["origin", "carrier"])),
                value=str(value),
                candidate=measured,
                differences={name: draw(estimates()) for name in metrics},
            )
        )
    return tuple(found)


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
        task=draw(st.sampled_from(["classification", "regression", "ranking"])),
        slices=draw(slices()),
        small_slices=draw(st.dictionaries(st.sampled_from(["origin=A", "carrier=B"]), st.integers(1, 500))),
    )


@st.composite
def slice_rules(draw):
    rule = {
        "metric": draw(st.sampled_from(sorted(METRICS))),
        "correction": draw(st.sampled_from(["holm", "benjamini_hochberg", "none"])),
        "min_rows": draw(st.integers(1, 500)),
        "too_little_data": draw(st.sampled_from(["inconclusive", "ignore"])),
        "undecided": draw(st.sampled_from(["inconclusive", "warn"])),
        "severity": draw(SEVERITIES),
    }
    bound = "minimum" if METRICS[rule["metric"]].greater_is_better else "maximum"
    return rule | draw(
        st.builds(lambda x: {"margin": x}, st.floats(0.001, 0.5)) | st.builds(lambda x: {bound: x}, NUMBERS)
    )


@st.composite
def policies(draw):
    absolute = [
        {"metric": name, "minimum" if METRICS[name].greater_is_better else "maximum": draw(NUMBERS)}
        for name in draw(METRIC_LISTS)
    ]
    non_inferiority = [{"metric": name, "margin": draw(st.floats(0.001, 0.5))} for name in draw(METRIC_LISTS)]
    superiority = [{"metric": name, "margin": draw(st.floats(0, 0.5))} for name in draw(METRIC_LISTS)]
    document = {"absolute": absolute, "non_inferiority": non_inferiority, "superiority": superiority}
    for rules in document.values():
        for rule in rules:
            rule["severity"] = draw(SEVERITIES)
    document["slices"] = draw(st.lists(slice_rules(), max_size=2, unique_by=lambda rule: rule["metric"]))
    assume(any(document.values()))
    return parse_policy({**document, "minimum_rows": {"rows": draw(st.integers(1, 3000))}})


def changed(report, change):
    """The same report with every estimate changed by ``change(metric, estimate)``."""

    def all_of(metrics):
        return {name: change(name, found) for name, found in metrics.items()}

    def measurements(found):
        return replace(found, metrics=all_of(found.metrics))

    parts = tuple(
        replace(part, candidate=measurements(part.candidate), differences=all_of(part.differences))
        for part in report.slices
    )
    return replace(
        report, candidate=measurements(report.candidate), differences=all_of(report.differences), slices=parts
    )


def shifted(report, name, by):
    """The same report with one metric worse by ``by``, in whichever direction is worse."""

    def worse(metric, found):
        change = 0.0 if metric != name else -by if METRICS[name].greater_is_better else by
        return replace(found, value=found.value + change, low=found.low + change, high=found.high + change)

    return changed(report, worse)


@patient
@given(reports(), policies(), st.sampled_from(sorted(METRICS)), st.floats(0, 1))
def test_a_worse_candidate_is_never_judged_better(report, policy, name, by):
    better, worse = judge(report, policy), judge(shifted(report, name, by), policy)
    for one, other in zip(better, worse, strict=True):
        assert one.name == other.name
        assert GOODNESS.index(other.verdict) <= GOODNESS.index(one.verdict)
    assert combine(better).promotes or not combine(worse).promotes


@patient
@given(reports(), policies(), st.integers(0, 3), st.floats(0, 1))
def test_a_candidate_that_is_worse_in_one_slice_is_never_judged_better(report, policy, which, by):
    assume(which < len(report.slices))
    parts = list(report.slices)
    for name in METRICS:
        alone = replace(report, slices=(parts[which],))
        (parts[which],) = shifted(alone, name, by).slices
    better, worse = judge(report, policy), judge(replace(report, slices=tuple(parts)), policy)
    for one, other in zip(better, worse, strict=True):
        assert GOODNESS.index(other.verdict) <= GOODNESS.index(one.verdict)
    assert combine(better).promotes or not combine(worse).promotes


@patient
@given(reports(), policies(), st.floats(1, 10))
def test_wider_intervals_never_open_the_gate(report, policy, factor):
    # To let slices pass that are not shown to be worse is to let them pass the sooner, the less is known.
    assume(all(rule.undecided == "inconclusive" for rule in policy.slices))

    def widen(_, found):
        low, high = found.value - factor * (found.value - found.low), found.value + factor * (found.high - found.value)
        return replace(found, low=min(low, found.low), high=max(high, found.high))

    wider = changed(report, widen)
    assert combine(judge(report, policy)).promotes or not combine(judge(wider, policy)).promotes


@patient
@given(reports(), policies())
def test_what_is_not_measured_never_promotes(report, policy):
    parts = tuple(
        replace(part, candidate=replace(part.candidate, metrics={}), differences={}) for part in report.slices
    )
    nothing = replace(report, candidate=replace(report.candidate, metrics={}), differences={}, slices=parts)
    compares_only = not policy.absolute and all(rule.margin is not None for rule in policy.slices)
    assume(report.champion or not compares_only)
    assert not combine(judge(nothing, policy)).promotes


@patient
@given(reports(), policies())
def test_severity_only_softens_what_was_measured(report, policy):
    """Every rule made strict: what warned for its severity stops then, and nothing else changes."""
    document = encode(policy)
    for section in ("absolute", "non_inferiority", "superiority", "slices"):
        document[section] = [{**rule, "severity": "fail"} for rule in document[section]]
    for one, strict in zip(judge(report, policy), judge(report, parse_policy(document)), strict=True):
        assert one.verdict is strict.verdict or (one.verdict, strict.verdict.promotes) == (Verdict.WARN, False)


@patient
@given(reports(), policies())
def test_every_judgement_has_a_reason_and_survives_the_codec(report, policy):
    for check in judge(report, policy):
        assert check.reason
        assert decode(type(check), encode(check)) == check
    assert decode(EvaluationReport, encode(report)) == report
    assert parse_policy(encode(policy)) == policy


@patient
@given(reports(), policies(), policies())
def test_a_replay_by_the_same_policy_changes_nothing_and_by_another_it_is_that_ones_verdict(report, policy, other):
    checks = judge(report, policy)
    evidence = Evidence(
        decision="gate",
        subject="flights",
        verdict=combine(checks),
        checks=checks,
        origin=Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        decided_at=1.0,
        policy=encode(policy),
    )
    past = PastGate(evidence=decode(Evidence, encode(evidence)), report=decode(EvaluationReport, encode(report)))
    same, changed_policy = replay(past, parse_policy(past.evidence.policy)), replay(past, other)
    assert (same.changes, same.flips, same.why) == (False, False, ())
    assert changed_policy.would_be is combine(judge(report, other))
    assert bool(changed_policy.why) is changed_policy.changes
