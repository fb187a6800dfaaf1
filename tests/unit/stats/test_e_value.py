"""The harm test keeps its promise however often one looks, and still finds harm."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_mlops.stats.e_value import WEIGHTS, add, e_value, log_likelihood_ratios


def _paths(
    *, canary_rate: float, baseline_rate: float, looks: int, canary_trials: int, baseline_trials: int, runs: int
) -> Any:
    """Simulate rollouts; the e-value of every run (row) after every look (column)."""
    import numpy as np

    random = np.random.default_rng(20130101)
    canary = random.binomial(canary_trials, canary_rate, size=(runs, looks))
    baseline = random.binomial(baseline_trials, baseline_rate, size=(runs, looks))
    # The ratios are linear in the two counts, so one look at each unit gives all of them.
    per_canary, per_baseline = (
        np.array(
            log_likelihood_ratios(
                canary_failures=one,
                canary_trials=canary_trials,
                baseline_failures=1 - one,
                baseline_trials=baseline_trials,
            )
        )
        for one in (1, 0)
    )
    logs = np.cumsum(canary, axis=1)[..., None] * per_canary + np.cumsum(baseline, axis=1)[..., None] * per_baseline
    return np.exp(np.logaddexp.reduce(logs + np.log(WEIGHTS), axis=2))


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("arms", [(20, 180), (100, 100)])
def test_an_identical_canary_is_rarely_called_harmful_over_100_looks(rate: float, arms: tuple[int, int]) -> None:
    paths = _paths(
        canary_rate=rate, baseline_rate=rate, looks=100, canary_trials=arms[0], baseline_trials=arms[1], runs=4000
    )
    false_alarms = (paths >= 1 / 0.05).any(axis=1).mean()
    assert false_alarms <= 0.05


def test_a_better_canary_is_called_harmful_even_less_often() -> None:
    paths = _paths(canary_rate=0.005, baseline_rate=0.01, looks=100, canary_trials=50, baseline_trials=450, runs=4000)
    assert (paths >= 1 / 0.05).any(axis=1).mean() <= 0.005


def test_a_doubled_error_rate_is_found() -> None:
    import numpy as np

    paths = _paths(canary_rate=0.02, baseline_rate=0.01, looks=100, canary_trials=100, baseline_trials=900, runs=2000)
    found = paths >= 1 / 0.05
    assert found.any(axis=1).mean() >= 0.99
    first_look = np.where(found.any(axis=1), found.argmax(axis=1) + 1, 101)
    assert np.median(first_look) <= 25  # 2,500 canary requests


def test_a_broken_canary_is_found_within_a_few_dozen_requests() -> None:
    ratios = log_likelihood_ratios(canary_failures=8, canary_trials=40, baseline_failures=0, baseline_trials=360)
    assert e_value(ratios) > 1000


def test_expectation_under_the_worst_null_is_one() -> None:
    share = 30 / (30 + 70)
    for failures in (1, 5, 20):
        expectation = sum(
            math.comb(failures, canary)
            * share**canary
            * (1 - share) ** (failures - canary)
            * e_value(
                log_likelihood_ratios(
                    canary_failures=canary,
                    canary_trials=30,
                    baseline_failures=failures - canary,
                    baseline_trials=70,
                )
            )
            for canary in range(failures + 1)
        )
        assert expectation == pytest.approx(1.0)


def test_spans_multiply_per_alternative() -> None:
    first = log_likelihood_ratios(canary_failures=3, canary_trials=50, baseline_failures=1, baseline_trials=450)
    second = log_likelihood_ratios(canary_failures=2, canary_trials=125, baseline_failures=4, baseline_trials=375)
    assert add((first, second)) == pytest.approx([a + b for a, b in zip(first, second, strict=True)])


def test_a_span_without_one_arm_says_nothing() -> None:
    ratios = log_likelihood_ratios(canary_failures=5, canary_trials=5, baseline_failures=0, baseline_trials=0)
    assert e_value(ratios) == pytest.approx(1.0)


def test_overwhelming_evidence_does_not_overflow() -> None:
    ratios = log_likelihood_ratios(
        canary_failures=9000, canary_trials=10_000, baseline_failures=0, baseline_trials=90_000
    )
    assert e_value(ratios) == math.inf


def test_a_tolerated_ratio_needs_more_than_that_ratio() -> None:
    counts = {"canary_failures": 30, "canary_trials": 1000, "baseline_failures": 15, "baseline_trials": 1000}
    assert e_value(log_likelihood_ratios(**counts, harm_ratio=2.0)) < 1.0 < e_value(log_likelihood_ratios(**counts))


def test_the_weights_are_a_distribution() -> None:
    assert sum(WEIGHTS) == pytest.approx(1.0)
