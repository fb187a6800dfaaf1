"""The bootstrap of groups: against resampling the rows one by one, textbook intervals, and where it says nothing."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_bootstrap import cluster_bootstrap, gathered, resample, resampling_weights
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.wilson import wilson_interval

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")


def mean(sums):
    return sums[:, 1] / sums[:, 0]


def by_group(values, groups, count):
    return np.stack([np.bincount(groups, minlength=count), np.bincount(groups, values, minlength=count)], axis=1)


def test_resamples_of_sums_are_those_of_the_rows():
    generator = np.random.default_rng(1)
    values, groups = generator.normal(size=300), generator.integers(0, 12, 300)
    weights = resampling_weights(12, 50, seed=3)
    assert set(weights.sum(axis=1)) == {12.0}
    found = resample(by_group(values, groups, 12), mean, weights)
    for drawn, one in zip(weights, found, strict=True):
        rows = np.concatenate([np.repeat(values[groups == group], int(times)) for group, times in enumerate(drawn)])
        assert one == pytest.approx(rows.mean(), abs=1e-12)


@pytest.mark.parametrize("smooth", [True, False])
def test_many_groups_of_a_symmetric_mean_give_the_t_interval(smooth):
    generator = np.random.default_rng(2)
    values, groups = generator.normal(size=4000), np.repeat(np.arange(400), 10)
    expected = cluster_mean(values, groups)
    found = cluster_bootstrap(by_group(values, groups, 400), mean, smooth=smooth, resamples=4000)
    assert found.value == pytest.approx(expected.value, abs=1e-12)
    reach = expected.high - expected.value
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.12 * reach)


@pytest.mark.parametrize("successes", [3, 10, 50, 97])
def test_a_proportion_gets_about_the_score_interval(successes):
    """The textbook interval reaches from -0.003 for three of a hundred, the score interval from 0.010."""
    values = (np.arange(100) < successes).astype(float)
    low, high = wilson_interval(successes, 100)
    found = cluster_bootstrap(by_group(values, np.arange(100), 100), mean)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.006)


def test_few_groups_widen_the_interval_as_students_distribution_does():
    values = np.random.default_rng(4).normal(size=10)
    expected, found = cluster_mean(values, range(10)), cluster_bootstrap(by_group(values, np.arange(10), 10), mean)
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.25)


def test_the_same_seed_gives_the_same_interval_and_a_common_factor_changes_nothing():
    sums = by_group(np.random.default_rng(5).normal(size=60), np.arange(60) % 20, 20)
    one, again, other = (cluster_bootstrap(sums, mean, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    scaled = cluster_bootstrap(7 * sums, mean, seed=1)
    assert (scaled.low, scaled.high) == pytest.approx((one.low, one.high), abs=1e-9)


def test_models_that_share_their_errors_are_compared_without_them():
    generator = np.random.default_rng(6)
    shared, groups = generator.normal(size=(400, 1)), np.arange(400) % 40
    both = shared + 0.1 * generator.normal(size=(400, 2))
    sums = np.stack([np.bincount(groups), *(np.bincount(groups, column) for column in both.T)], axis=1)
    alone = cluster_bootstrap(sums, lambda found: found[:, 1] / found[:, 0])
    change = cluster_bootstrap(sums, lambda found: (found[:, 1] - found[:, 2]) / found[:, 0])
    assert change.high - change.low < 0.3 * (alone.high - alone.low)


def test_what_was_never_seen_is_not_impossible():
    sums = np.array([[3.0, 3.0]] * 10)
    assert cluster_bootstrap(sums, mean).low == 1.0
    found = cluster_bootstrap(sums, mean, unseen=[[1.0, 0.0], [1.0, 1.0]])
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.7 < found.low < 0.97


def test_two_models_that_are_the_same_differ_by_nothing():
    values = np.random.default_rng(7).normal(size=50)
    sums = np.stack([np.ones(50), values, values], axis=1)
    found = cluster_bootstrap(sums, lambda given: (given[:, 1] - given[:, 2]) / given[:, 0])
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


def test_many_groups_are_gathered_evenly_and_tell_as_much():
    codes, count = gathered(np.arange(5000), 5000, at_most=1000)
    assert count == 1000
    assert set(np.bincount(codes)) == {5}
    assert gathered(np.arange(10), 10) == (pytest.approx(np.arange(10)), 10)
    values = np.random.default_rng(8).normal(size=5000)
    found, expected = cluster_bootstrap(by_group(values, codes, 1000), mean), cluster_mean(values, range(5000))
    assert found.high - found.low == pytest.approx(expected.high - expected.low, rel=0.15)


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        ([[1.0, 1.0]] * 9, "clusters: 9 is not accepted; expected at least 10 groups"),
        ([[0.0, 1.0]] * 10, "rows for which the number exists"),
        ([[1.0, 1.0]] + [[0.0, 0.0]] * 11, "of the resamples' is not accepted; expected more groups"),
    ],
)
def test_what_cannot_be_resampled_is_named(sums, message):
    with pytest.raises(SpecificationError, match=message):
        cluster_bootstrap(np.array(sums), mean)


def test_a_higher_confidence_asks_for_more_groups():
    sums = by_group(np.random.default_rng(9).normal(size=12), np.arange(12), 12)
    assert cluster_bootstrap(sums, mean, confidence=0.99).low < 0
    with pytest.raises(SpecificationError, match=r"clusters: 12 .* at least 13 groups"):
        cluster_bootstrap(sums, mean, confidence=0.999)
