"""Holm and Benjamini-Hochberg: worked examples, what each promises over thirty slices by simulation, and order."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.benjamini_hochberg import benjamini_hochberg
from airflow_mlops.stats.holm import holm

np = pytest.importorskip("numpy")

RUNS, SLICES, LEVEL = 4000, 30, 0.05


def test_holm_by_hand():
    """Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, of which the last must not be below the third."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_benjamini_hochberg_by_hand():
    """Times 4, by rank: .02 .02 .04 .04."""
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.02, 0.04, 0.04, 0.02))


def test_benjamini_hochberg_on_the_example_of_its_authors():
    """Fifteen p-values of the paper of 1995: at 5 % four are rejected, where Holm rejects three."""
    given = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
        0.7590, 1.0,
    ]  # fmt: skip
    assert sum(p_value <= 0.05 for p_value in benjamini_hochberg(given)) == 4
    assert sum(p_value <= 0.05 for p_value in holm(given)) == 3


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_one_question_needs_no_correction_and_none_gives_none(adjust):
    assert adjust([0.03]) == (0.03,)
    assert adjust([]) == ()
    assert adjust([0.9, 0.9]) == pytest.approx((1.0, 1.0) if adjust is holm else (0.9, 0.9))


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(adjust, wrong):
    with pytest.raises(SpecificationError, match=r"p_values: .* numbers from 0 to 1"):
        adjust([0.1, wrong])


@pytest.mark.parametrize("dependence", [0.0, 0.5])
def test_over_thirty_good_slices_holm_raises_any_alarm_as_rarely_as_promised(dependence):
    """Uncorrected, four of five evaluations of independent slices would raise one."""
    p_values = _p_values(effect=0, dependence=dependence)
    uncorrected = (p_values <= LEVEL).any(axis=1).mean()
    corrected = _alarms(holm, p_values).any(axis=1).mean()
    assert corrected <= LEVEL + _error(LEVEL)
    assert uncorrected > (0.75 if dependence == 0 else 0.3)


@pytest.mark.parametrize("dependence", [0.0, 0.5])
@pytest.mark.parametrize("bad", [0, 10])
def test_over_thirty_slices_benjamini_hochberg_limits_the_share_of_false_alarms(dependence, bad):
    p_values = _p_values(effect=3, dependence=dependence, bad=bad)
    alarms = _alarms(benjamini_hochberg, p_values)
    false = alarms[:, bad:].sum(axis=1) / np.maximum(alarms.sum(axis=1), 1)
    promised = LEVEL * (SLICES - bad) / SLICES
    assert false.mean() <= promised + 3 * false.std() / math.sqrt(RUNS)


def test_where_much_is_wrong_benjamini_hochberg_finds_more():
    p_values = _p_values(effect=3, dependence=0.0, bad=10)
    found = {adjust: _alarms(adjust, p_values)[:, :10].mean() for adjust in (holm, benjamini_hochberg)}
    assert found[benjamini_hochberg] > found[holm] + 0.15


def _alarms(adjust, p_values):
    return np.array([adjust(row.tolist()) for row in p_values]) <= LEVEL


def _p_values(*, effect, dependence, bad=0):
    """P-values of evaluations with slices whose estimates are correlated; the first ``bad`` slices are worse."""
    generator = np.random.default_rng(20)
    shared, own = generator.standard_normal((RUNS, 1)), generator.standard_normal((RUNS, SLICES))
    z = math.sqrt(dependence) * shared + math.sqrt(1 - dependence) * own
    z[:, :bad] += effect
    return 1 - np.vectorize(NormalDist().cdf)(z)


def _error(share):
    return 3 * math.sqrt(share * (1 - share) / RUNS)
