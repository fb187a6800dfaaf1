"""The same resamples give the same intervals as fairlearn's ``MetricFrame``."""

from __future__ import annotations

import pytest

from airflow_mlops.evaluation.decision_metrics import balanced_accuracy, f1, precision, recall
from airflow_mlops.stats.cluster_bootstrap import resample

np = pytest.importorskip("numpy")
metrics = pytest.importorskip("sklearn.metrics")
fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn needs pandas, which is not everywhere")

OURS = {"precision": precision, "recall": recall, "f1": f1, "balanced_accuracy": balanced_accuracy}
THEIRS = {name: getattr(metrics, "f1_score" if name == "f1" else f"{name}_score") for name in OURS}
ENDS, SEED, RESAMPLES, ROWS = [0.025, 0.975], 7, 30, 600


@pytest.mark.filterwarnings("ignore")
def test_intervals_of_slices_are_equal_when_rows_are_drawn_alike():
    """Every row is a group of its own; ``MetricFrame`` draws the rows with a seed for each resample."""
    dice = np.random.default_rng(1)
    scores = dice.random(ROWS)
    labels, chosen = (dice.random(ROWS) < scores).astype(int), (scores >= 0.5).astype(int)
    where = dice.integers(0, 3, ROWS)
    peer = fairlearn.MetricFrame(
        metrics=THEIRS,
        y_true=labels,
        y_pred=chosen,
        sensitive_features=where,
        n_boot=RESAMPLES,
        ci_quantiles=ENDS,
        random_state=SEED,
    )
    seeds = np.random.default_rng(seed=SEED).integers(0, np.iinfo(np.uint32).max, size=RESAMPLES, dtype=np.uint32)
    drawn = (np.random.RandomState(seed).choice(ROWS, size=ROWS, replace=True) for seed in seeds)
    weights = np.stack([np.bincount(rows, minlength=ROWS) for rows in drawn]).astype(float)
    for part in range(3):
        counts = np.eye(4)[2 * labels + chosen] * (where == part)[:, None]
        for name, statistic in OURS.items():
            found = np.quantile(resample(counts, statistic, weights), ENDS)
            expected = [one.loc[part, name] for one in peer.by_group_ci]
            assert found == pytest.approx(expected, abs=1e-9)
