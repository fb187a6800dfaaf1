"""What an evaluation with intervals costs beside fairlearn's ``MetricFrame``, on a million rows in six slices.

Two measurements:

* *The same bootstrap.* ``MetricFrame`` draws each resample with ``RandomState(seed).choice(rows)``, the seeds from
  ``default_rng(random_state)``. The same draws are made here; what they hold of each slice, label and decision is
  counted, and the evaluation's own functions make the metrics of these counts, as they do of its own resamples'. The
  intervals of accuracy, recall and selection rate must be equal to 1e-9, or the benchmark stops.
* *The whole evaluation*: every metric of a classification on all rows and on the six slices, as the container job makes
  it, its intervals from 1,999 resamples of the days, beside the few resamples that ``MetricFrame`` is given here.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

ROWS, RESAMPLES = 1_000_000, 5
HOLD_RATIO = 10.0
HOLD_FRAMES = 3.0
HOLD_DIFFERENCE = 1e-9

_BODY = """
import json, sys, time, tracemalloc
import numpy as np, pandas as pd
from fairlearn.metrics import MetricFrame, selection_rate
from sklearn.metrics import accuracy_score, recall_score
from airflow_mlops.evaluation.decision_metrics import recall
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.spec import EvaluationSpec

ENDS, SEED = [0.025, 0.975], 7

def make(rows):
    dice = np.random.default_rng(1)
    scores = dice.random(rows)
    frame = {"late": (dice.random(rows) < scores).astype("int64"), "score": scores}
    frame["origin"] = dice.choice(["EWR", "JFK", "LGA", "BOS", "DCA", "PHL"], rows)
    frame["date"] = dice.choice([f"2013-01-{day:02d}" for day in range(1, 32)], rows)
    frame |= {f"x{number}": dice.normal(size=rows) for number in range(16)}
    # Text as the model environment has it, whose pandas is older than 3.
    return pd.DataFrame(frame).astype({"origin": object, "date": object})

def peer(frame, resamples):
    found = MetricFrame(
        metrics={"accuracy": accuracy_score, "recall": recall_score, "selection_rate": selection_rate},
        y_true=frame["late"],
        y_pred=(frame["score"] >= 0.5).astype("int64"),
        sensitive_features=frame["origin"],
        n_boot=resamples,
        ci_quantiles=ENDS,
        random_state=SEED,
    )
    return [one.to_numpy().tolist() for one in found.by_group_ci]

def same(frame, resamples):
    rows = len(frame)
    seeds = np.random.default_rng(seed=SEED).integers(0, np.iinfo(np.uint32).max, size=resamples, dtype=np.uint32)
    names, slices = np.unique(frame["origin"].to_numpy(dtype=object), return_inverse=True)
    cells = 4 * slices + 2 * frame["late"].to_numpy() + (frame["score"].to_numpy() >= 0.5)
    drawn = (np.random.RandomState(seed).choice(rows, size=rows, replace=True) for seed in seeds)
    counts = np.stack([np.bincount(cells[one], minlength=4 * len(names)) for one in drawn]).reshape(-1, 4)
    all_rows = counts.sum(axis=1)
    metrics = [(counts[:, 0] + counts[:, 3]) / all_rows, recall(counts), (counts[:, 1] + counts[:, 3]) / all_rows]
    found = np.stack(metrics, axis=1).reshape(resamples, len(names), 3)
    return np.quantile(found, ENDS, axis=0).tolist()

def whole(frame, resamples):
    report = build_report(
        EvaluationSpec(target="late", slices=("origin",)),
        labels=frame["late"].to_numpy(),
        days=frame["date"].to_numpy(),
        candidate=frame["score"].to_numpy(),
        slices={"origin": frame["origin"].to_numpy()},
    )
    return [len(report.slices), len(report.candidate.metrics)]

body = {"peer": peer, "same": same, "whole": whole}[sys.argv[1]]
body(make(20_000), 2)
frame = make(int(sys.argv[2]))
started = time.process_time()
kept = body(frame, int(sys.argv[3]))
taken = time.process_time() - started
peak = 0
if sys.argv[1] == "whole":
    # Once more, since to trace what is allocated takes time.
    tracemalloc.start()
    body(frame, int(sys.argv[3]))
    peak = tracemalloc.get_traced_memory()[1]
size = int(frame.memory_usage(deep=False).sum())
print(json.dumps({"seconds": taken, "peak": peak, "frame": size, "kept": kept}))
"""


def measure(runs: int, *, rows: int = ROWS, resamples: int = RESAMPLES) -> Iterator[str]:
    """Yield a table row for the same bootstrap, for the whole evaluation and for its memory.

    :param runs: how often each side is measured, in turn, each in a process of its own; three at most, since a run of
        the peer takes minutes
    :param rows: how many
    :param resamples: how many the peer draws
    """
    found: dict[str, list[dict[str, Any]]] = {"same": [], "whole": [], "peer": []}
    for _ in range(min(runs, 3)):
        for side, kept in found.items():
            command = [sys.executable, "-c", _BODY, side, str(rows), str(resamples)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            kept.append(json.loads(answer.stdout.splitlines()[-1]))
    apart = _apart(found["same"][0]["kept"], found["peer"][0]["kept"])
    if apart > HOLD_DIFFERENCE:
        raise SystemExit(f"the same resamples gave intervals that are up to {apart:.3g} apart")
    seconds = {side: statistics.median(one["seconds"] for one in all_runs) for side, all_runs in found.items()}
    slices, metrics = found["whole"][0]["kept"]
    against = f"`MetricFrame`, 3 metrics, {resamples} resamples"
    what = f"Intervals in {slices} slices of {rows:,} rows, the same resamples, at most {apart:.0e} apart"
    yield _row(what, against, seconds["same"], seconds["peer"])
    what = f"Evaluation with {metrics} metrics in {slices} slices of {rows:,} rows, 1,999 resamples"
    yield _row(what, against, seconds["whole"], seconds["peer"])
    memory, frame = (statistics.median(one[name] for one in found["whole"]) for name in ("peak", "frame"))
    held = "held" if frame + memory <= HOLD_FRAMES * frame else "NOT HELD"
    yield (
        f"| Peak memory of it, a frame of {frame / 1e6:.0f} MB included | the frame | {(frame + memory) / 1e6:.0f} MB "
        f"| {frame / 1e6:.0f} MB | {memory / 1e6:.0f} MB | {1 + memory / frame:.2f} "
        f"| ≤ {HOLD_FRAMES:g} frames: {held} |"
    )


def _apart(ours: Any, theirs: Any) -> float:
    """Return the largest difference between two nested lists of numbers."""
    if isinstance(ours, list):
        return max(_apart(one, other) for one, other in zip(ours, theirs, strict=True))
    return abs(float(ours) - float(theirs))


def _row(measure: str, against: str, ours: float, peer: float) -> str:
    held = "held" if peer >= HOLD_RATIO * ours else "NOT HELD"
    return (
        f"| {measure} | {against} | {ours * 1000:.0f} ms | {peer * 1000:.0f} ms | {(ours - peer) * 1000:.0f} ms "
        f"| {ours / peer:.4f} | {HOLD_RATIO:.0f} times faster: {held} |"
    )


if __name__ == "__main__":
    for line in measure(1):
        print(line)
