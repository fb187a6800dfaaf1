"""How often the gate is wrong, by simulation with fixed seeds: through rules and reports, as candidates meet it."""

from __future__ import annotations

import functools

import pytest

from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import Estimate, EvaluationReport, Measurements, Reference, SliceReport
from airflow_mlops.stats.tango import tango_interval
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")

REFERENCE = Reference(rows=1, label_rate=0.2, mean_prediction=0.2, brier=0.1, by_day=())
# Of a hundred answers ten differ; the candidate is right four times and the champion six: two points worse.
AT_THE_MARGIN = (0.04, 0.06, 0.90)
EQUAL = (0.05, 0.05, 0.90)
MUCH_WORSE = (0.02, 0.12, 0.86)


@functools.cache
def difference(better, worse, rows, confidence):
    found = tango_interval(better, worse, rows, confidence=confidence)
    return Estimate(value=found.value, low=found.low, high=found.high, method="Tango")


def report(rows, confidence, *, differences=None, slices=()):
    measured = Measurements(rows=rows, positives=rows // 2, metrics={}, days=30)
    return EvaluationReport(
        target="late",
        confidence=confidence,
        days=30,
        candidate=measured,
        champion=measured,
        reference=REFERENCE,
        differences=differences or {},
        slices=slices,
    )


def share_accepted(rows, truth, policy, *, runs=4000):
    """Share of evaluations in which the policy's only rule lets the candidate pass."""
    confidence = policy.confidence
    counts = np.random.default_rng(rows).multinomial(rows, truth, size=runs)
    pairs, often = np.unique(counts[:, :2], axis=0, return_counts=True)
    accepted = 0
    for (better, worse), times in zip(pairs.tolist(), often.tolist(), strict=True):
        found = {"accuracy": difference(better, worse, rows, confidence)}
        accepted += times * judge(report(rows, confidence, differences=found), policy)[-1].verdict.promotes
    return accepted / runs


def allowed(nominal, runs):
    return nominal + 3 * (nominal * (1 - nominal) / runs) ** 0.5


@pytest.mark.parametrize("rows", [100, 143, 500, 2000])
def test_a_candidate_that_is_worse_by_the_margin_is_rarely_accepted(rows):
    """90 % intervals, so 5 % on one side; the textbook interval accepts 12.7 % on 143 rows."""
    policy = parse_policy({"non_inferiority": [{"metric": "accuracy", "margin": 0.02}], "confidence": 0.9})
    assert share_accepted(rows, AT_THE_MARGIN, policy) <= allowed(0.05, 4000)


@pytest.mark.parametrize("rows", [100, 143, 500, 2000])
def test_a_candidate_that_is_no_better_is_rarely_called_better(rows):
    policy = parse_policy({"superiority": [{"metric": "accuracy"}], "confidence": 0.9})
    assert share_accepted(rows, EQUAL, policy) <= allowed(0.05, 4000)


def slices(counts, rows):
    measured = Measurements(rows=rows, positives=rows // 2, metrics={})
    return tuple(
        SliceReport(
            column="origin",
            value=str(number),
            candidate=measured,
            differences={"accuracy": difference(int(better), int(worse), rows, 0.95)},
        )
        for number, (better, worse, _) in enumerate(counts)
    )


def failures(correction, *, bad, runs=400, rows=500):
    """Which of thirty slices fail, run by run; the first ``bad`` of them are much worse than the margin allows."""
    generator = np.random.default_rng(11)
    counts = generator.multinomial(rows, AT_THE_MARGIN, size=(runs, 30))
    counts[:, :bad] = generator.multinomial(rows, MUCH_WORSE, size=(runs, bad))
    rule = {"metric": "accuracy", "margin": 0.02, "correction": correction}
    policy = parse_policy({"slices": [rule]})
    return np.array(
        [
            [one.verdict is Verdict.FAIL for one in judge(report(rows * 30, 0.95, slices=slices(run, rows)), policy)][
                3:-1
            ]
            for run in counts
        ]
    )


def test_thirty_slices_at_the_margin_fail_by_chance_as_rarely_as_holm_promises():
    """2.5 % for any of them; without a correction every other evaluation would fail."""
    assert failures("holm", bad=0).any(axis=1).mean() <= allowed(0.025, 400)
    assert failures("none", bad=0).any(axis=1).mean() > 0.4


def test_with_ten_bad_slices_few_of_those_that_fail_are_good_ones():
    """Benjamini and Hochberg promise 2.5 %, times twenty slices of thirty that are good enough."""
    found = failures("benjamini_hochberg", bad=10)
    false = found[:, 10:].sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    assert false.mean() <= 0.025 * 20 / 30 + 3 * false.std() / len(false) ** 0.5
    assert found[:, :10].mean() > failures("holm", bad=10)[:, :10].mean() > 0.5
