"""The calibration error and its p-values: small cases by hand, levels and power by simulation."""

from __future__ import annotations

import itertools
import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.calibration_error import (
    calibration_error,
    consistency_errors,
    equal_mass_bins,
    grouped_errors,
    p_value_of_error,
)

np = pytest.importorskip("numpy")


def allowed(nominal, runs, simulations):
    """The nominal level with three standard errors of what the runs and the simulated hypothesis leave to chance."""
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) * (1 / runs + 1 / simulations))


def errors_of(labels, scores, codes):
    """The calibration errors of many samples, one per row of ``labels``."""
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    return np.abs(np.add.reduceat((labels - scores)[:, order], starts, axis=1)).sum(axis=1) / len(scores)


def p_values(found, simulated):
    ordered = np.sort(simulated)
    larger = len(ordered) - np.searchsorted(ordered, found * (1 - 1e-9))
    return (1 + larger) / (1 + len(ordered))


def test_bins_have_equal_mass_and_keep_equal_probabilities_together():
    codes, count = equal_mass_bins(np.arange(100) / 100, 10)
    assert (count, np.bincount(codes).tolist()) == (10, [10] * 10)
    codes, count = equal_mass_bins(np.repeat([0.1, 0.2, 0.9], [60, 30, 10]), 10)
    assert (count, np.bincount(codes).tolist()) == (3, [60, 30, 10])
    assert equal_mass_bins(np.full(7, 0.3), 10)[1] == 1
    shuffled = np.random.default_rng(1).permutation(100)
    assert (equal_mass_bins(shuffled / 100, 10)[0] == shuffled // 10).all()


def test_the_error_by_hand():
    scores = np.array([0.1, 0.1, 0.1, 0.1, 0.6, 0.6])
    labels = np.array([0, 0, 0, 1, 1, 1])
    codes, _ = equal_mass_bins(scores, 2)
    # Four rows are 0.15 off, two are 0.4 off.
    assert calibration_error(labels, scores, codes) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)


@pytest.mark.parametrize(("scores", "bins"), [([], 10), ([0.5], 0)])
def test_nothing_to_measure_is_refused(scores, bins):
    with pytest.raises(SpecificationError):
        equal_mass_bins(scores, bins)


def test_simulated_errors_follow_the_exact_distribution():
    """Three rows in two bins: all eight outcomes can be written down."""
    scores, codes = np.array([0.2, 0.3, 0.7]), np.array([0, 0, 1])
    exact: dict[float, float] = {}
    for labels in itertools.product((0, 1), repeat=3):
        chance = math.prod(p if label else 1 - p for p, label in zip(scores, labels, strict=True))
        error = round(calibration_error(np.array(labels), scores, codes), 9)
        exact[error] = exact.get(error, 0) + chance
    drawn = consistency_errors(scores, codes, simulations=20_000, generator=np.random.default_rng(3))
    values, counts = np.unique(drawn.round(9), return_counts=True)
    assert set(values.tolist()) == set(exact)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        assert count / 20_000 == pytest.approx(exact[value], abs=3 * math.sqrt(exact[value] / 20_000))


@pytest.mark.parametrize("rows", [100, 500, 2000])
@pytest.mark.parametrize("nominal", [0.05, 0.01])
def test_a_perfectly_calibrated_model_is_rarely_accused(rows, nominal):
    """2,000 samples against 4,000 simulated errors; an absolute bound of 0.05 would refuse most of them at 100 rows."""
    generator = np.random.default_rng(rows)
    scores = generator.beta(1, 4, rows)
    codes, _ = equal_mass_bins(scores, 10)
    labels = generator.random((2000, rows)) < scores
    found = errors_of(labels, scores, codes)
    simulated = consistency_errors(scores, codes, simulations=4000, generator=generator)
    assert (p_values(found, simulated) < nominal).mean() <= allowed(nominal, 2000, 4000)


def test_a_miscalibrated_model_is_found_out():
    generator = np.random.default_rng(5)
    scores = generator.beta(1, 4, 2000)
    codes, _ = equal_mass_bins(scores, 10)
    labels = generator.random((300, 2000)) < 0.7 * scores
    simulated = consistency_errors(scores, codes, simulations=1000, generator=generator)
    assert (p_values(errors_of(labels, scores, codes), simulated) < 0.01).mean() > 0.95


def test_many_rows_in_a_bin_are_drawn_together_with_the_same_result():
    generator = np.random.default_rng(6)
    scores = generator.beta(1, 4, 20_000)
    codes, _ = equal_mass_bins(scores, 10)
    together = consistency_errors(scores, codes, simulations=1000, generator=generator)
    singly = errors_of(generator.random((300, 20_000)) < scores, scores, codes)
    assert together.mean() == pytest.approx(singly.mean(), rel=0.05)
    assert np.quantile(together, 0.95) == pytest.approx(np.quantile(singly, 0.95), rel=0.1)


def days_apart(generator, scores, groups, runs):
    """Labels with exactly these probabilities whose rows share their day's luck: one latent number per day."""
    from scipy.special import ndtri

    shared = generator.standard_normal((runs, groups.max() + 1))[:, groups]
    own = generator.standard_normal((runs, len(scores)))
    return math.sqrt(0.2) * shared + math.sqrt(0.8) * own < ndtri(scores)


@pytest.mark.parametrize("days", [20, 60])
def test_days_with_luck_of_their_own_do_not_accuse_a_calibrated_model(days):
    pytest.importorskip("scipy")
    generator = np.random.default_rng(days)
    scores, groups = generator.beta(2, 4, 1200), np.arange(1200) % days
    codes, _ = equal_mass_bins(scores, 10)
    labels = days_apart(generator, scores, groups, 500).astype(float)
    rejected = {"rows": 0, "days": 0}
    independent = consistency_errors(scores, codes, simulations=1000, generator=generator)
    for one in labels:
        found = calibration_error(one, scores, codes)
        by_day = grouped_errors(one, scores, codes, groups, simulations=500, generator=generator)
        rejected["rows"] += p_value_of_error(found, independent) < 0.05
        rejected["days"] += p_value_of_error(found, by_day) < 0.05
    assert rejected["days"] / 500 <= allowed(0.05, 500, 500)
    assert rejected["rows"] / 500 > 0.12  # what taking the rows for independent would do


def test_signs_of_many_groups_are_drawn_from_their_sum():
    generator = np.random.default_rng(8)
    scores = generator.beta(2, 4, 6000)
    labels, codes = generator.random(6000) < scores, equal_mass_bins(scores, 10)[0]
    few = grouped_errors(labels, scores, codes, np.arange(6000) % 2000, simulations=2000, generator=generator)
    many = grouped_errors(labels, scores, codes, np.arange(6000) % 2001, simulations=2000, generator=generator)
    assert few.mean() == pytest.approx(many.mean(), rel=0.1)


def test_a_p_value_is_never_zero():
    assert p_value_of_error(1.0, np.zeros(99)) == 0.01
    assert p_value_of_error(0.0, np.zeros(99)) == 1.0
