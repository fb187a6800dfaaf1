"""How often intervals by the tilted bootstrap miss the truth, by simulation with fixed seeds.

The rows come on days, as the evaluation has them, and each test goes through the metrics' own code; only resamples are
fewer than in an evaluation, which changes the share that misses by less than the simulations can tell.
"""

from __future__ import annotations

from functools import partial

import pytest

from airflow_mlops.evaluation import decision_metrics, probability_metrics, regression_metrics
from airflow_mlops.evaluation.metrics import METRICS, Scored
from airflow_mlops.stats.cluster_bootstrap import cluster_bootstrap

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")

# Of a hundred positive rows the two models tell ten apart: four the candidate is right about, six the champion.
RIGHT, BOTH_WRONG, ONLY_CANDIDATE, ONLY_CHAMPION = 0.60, 0.30, 0.04, 0.06
POSITIVE = 0.4
# Days of an evaluation with so many rows.
DAYS = {100: 25, 143: 30, 500: 25, 2000: 40}


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    for module in (decision_metrics, probability_metrics, regression_metrics):
        monkeypatch.setattr(module, "cluster_bootstrap", partial(cluster_bootstrap, resamples=499))


def allowed(nominal, runs):
    return nominal + 3 * (nominal * (1 - nominal) / runs) ** 0.5


def cells():
    """Probability of each label, decision of the candidate and decision of the champion."""
    negative = 1 - POSITIVE
    return np.array(
        [
            *(negative * 0.85, negative * 0.05, negative * 0.05, negative * 0.05),
            *(POSITIVE * BOTH_WRONG, POSITIVE * ONLY_CHAMPION, POSITIVE * ONLY_CANDIDATE, POSITIVE * RIGHT),
        ]
    )


def value(name, counts):
    return float(getattr(decision_metrics, name)(counts[None])[0])


def pair(generator, rows):
    """Draw rows with two models' decisions, the same number on every day."""
    cell = generator.choice(8, size=rows, p=cells())
    days = np.arange(rows) % DAYS[rows]
    candidate = Scored(labels=cell // 4, scores=(cell // 2 % 2).astype(float), days=days)
    return candidate, candidate.scored_by((cell % 2).astype(float))


@pytest.mark.parametrize("rows", DAYS)
@pytest.mark.parametrize("name", ["recall", "precision", "f1", "balanced_accuracy"])
def test_a_candidate_at_the_margin_is_rarely_accepted(name, rows):
    """90 % intervals, so 5 % on each side; Wald's accepts up to 13 % where so few rows are told apart."""
    truth = cells()
    candidate = truth.reshape(2, 2, 2).sum(axis=2).ravel()
    champion = truth.reshape(2, 2, 2).sum(axis=1).ravel()
    margin = value(name, candidate) - value(name, champion)
    generator, runs = np.random.default_rng(rows), 600
    found = [METRICS[name].difference(*pair(generator, rows), 0.9) for _ in range(runs)]
    assert np.mean([one.low > margin for one in found]) <= allowed(0.05, runs)
    assert np.mean([one.high < margin for one in found]) <= allowed(0.05, runs)


def classified(days, rows_a_day, generator):
    """Rows whose odds change from day to day."""
    rows = days * rows_a_day
    signal = generator.normal(size=rows)
    odds = 1.5 * signal - 1 + np.repeat(generator.normal(scale=0.5, size=days), rows_a_day)
    labels = (generator.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    scores = 1 / (1 + np.exp(1 - 1.5 * signal))
    return Scored(labels=labels, scores=scores, days=np.repeat(np.arange(days), rows_a_day), threshold=0.4)


def foretold(days, rows_a_day, generator):
    """Numbers and answers to them whose errors have a part in common on each day."""
    rows = days * rows_a_day
    labels = 2 * generator.normal(size=rows) + np.repeat(generator.normal(size=days), rows_a_day)
    errors = generator.normal(size=rows) + np.repeat(generator.normal(scale=0.3, size=days), rows_a_day)
    return Scored(labels=labels, scores=labels + errors, days=np.repeat(np.arange(days), rows_a_day), task="regression")


def misses(make, names, runs, days, rows_a_day):
    """Share of 95 % intervals that miss what very many rows show."""
    truth = make(20_000, 20, np.random.default_rng(0))
    truths = {name: METRICS[name].interval(truth, 0.95).value for name in names}
    generator = np.random.default_rng(days + rows_a_day)
    counted = dict.fromkeys(names, 0)
    for _ in range(runs):
        rows = make(days, rows_a_day, generator)
        for name in names:
            found = METRICS[name].interval(rows, 0.95)
            counted[name] += not found.low <= truths[name] <= found.high
    return {name: count / runs for name, count in counted.items()}


@pytest.mark.parametrize(("days", "rows_a_day"), [(25, 8), (40, 25)])
def test_intervals_of_decisions_cover_what_they_say(days, rows_a_day):
    runs = 400
    for share in misses(
        classified, ["recall", "precision", "f1", "balanced_accuracy"], runs, days, rows_a_day
    ).values():
        assert share <= allowed(0.05, runs)


@pytest.mark.parametrize(("days", "rows_a_day"), [(25, 20), (40, 10)])
def test_intervals_of_the_order_cover_what_they_say(days, rows_a_day):
    runs = 200
    for share in misses(classified, ["average_precision", "lift"], runs, days, rows_a_day).values():
        assert share <= allowed(0.05, runs)


@pytest.mark.parametrize(("days", "rows_a_day", "nominal"), [(25, 8, 0.065), (40, 25, 0.05)])
def test_intervals_of_foretold_numbers_cover_what_they_say(days, rows_a_day, nominal):
    """25 days tell little about squares whose size changes from day to day: r2 misses in 6.4 % then (6,000 runs)."""
    runs = 500
    for share in misses(foretold, ["rmse", "r2", "median_ae"], runs, days, rows_a_day).values():
        assert share <= allowed(nominal, runs)
