"""What validation costs over a bare ``checkpoint.run`` of Great Expectations, on a million rows with twenty columns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROWS, COLUMNS = 1_000_000, 20
HOLD_SHARE = 0.05
HOLD_FRAMES = 3.0

_MAKE = """
import sys
import numpy as np, pandas as pd
rows, columns, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dice = np.random.default_rng(7)
frame = {"id": np.arange(rows), "word": dice.choice(["EWR", "JFK", "LGA"], rows)}
frame |= {f"x{i}": dice.normal(0, 1, rows) for i in range(columns - len(frame))}
pd.DataFrame(frame).to_parquet(path, index=False)
"""
#: Processor time and peak memory of a body after both sides' libraries were imported and warmed up.
_TIMED = """
import json, resource, sys, time, warnings, logging
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
import pandas as pd
import great_expectations as gx
from pathlib import Path
from airflow_mlops.adapters.tables.files import load_frame
from airflow_mlops.adapters.validators.great_expectations import GreatExpectationsBackend
from airflow_mlops.validation.spec import parse_suite
path, small, suite = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

def ours(path):
    found = GreatExpectationsBackend(load_frame).validate(Path(path), parse_suite(suite))
    return sum(one.passed for one in found)

def bare(path):
    frame = pd.read_parquet(path)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    definition = context.data_sources.add_pandas("p").add_dataframe_asset("a")
    batch = definition.add_batch_definition_whole_dataframe("b")
    kinds = gx.expectations
    rules = [
        getattr(kinds, "".join(word.title() for word in rule["type"].split("_")))(**rule["kwargs"])
        for rule in suite["rules"]
    ]
    declared = context.suites.add(gx.ExpectationSuite(name="s", expectations=rules))
    definition = gx.ValidationDefinition(name="v", data=batch, suite=declared)
    checkpoint = gx.Checkpoint(
        name="c",
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={"result_format": "SUMMARY"},
    )
    result = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    return sum(one.success for run in result.run_results.values() for one in run.results)

body = {"ours": ours, "bare": bare}[sys.argv[4]]
body(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
kept = body(path)
taken = time.process_time() - started
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
frame = int(pd.read_parquet(path).memory_usage(deep=False).sum())
print(json.dumps({"seconds": taken, "bytes": grown * 1024, "frame": frame, "kept": kept}))
"""


def made_rules() -> list[dict[str, object]]:
    """Give rules: of every kind that suites of pipelines have, two on each of six columns and some more."""
    rules: list[dict[str, object]] = [
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["EWR", "JFK"]}},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
        {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "x0", "min_value": -1, "max_value": 1}},
    ]
    for number in range(6):
        rules.append({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": f"x{number}"}})
        between = {"column": f"x{number}", "min_value": -4, "max_value": 4, "mostly": 0.99}
        rules.append({"type": "expect_column_values_to_be_between", "kwargs": between})
    return rules


def measure(runs: int) -> Iterator[str]:
    """Yield a table row for time and one for memory.

    :param runs: how often each side is measured, the two in turn, each in a process of its own
    """
    rules = made_rules()
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.parquet", Path(folder) / "small.parquet"
        for rows, path in ((ROWS, large), (1000, small)):
            subprocess.run([sys.executable, "-c", _MAKE, str(rows), str(COLUMNS), path], check=True)
        found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
        suite = json.dumps({"name": "bench", "rules": rules})
        for _ in range(runs):
            for side, kept in found.items():
                command = [sys.executable, "-c", _TIMED, large, small, suite, side]
                answer = subprocess.run(command, capture_output=True, text=True, check=True)
                kept.append(json.loads(answer.stdout.splitlines()[-1]))
    if {one["kept"] for side in found.values() for one in side} != {found["ours"][0]["kept"]}:
        raise SystemExit("the two sides do not agree about the rules that are kept")
    ours, bare = (statistics.median(one["seconds"] for one in found[side]) for side in ("ours", "bare"))
    held = "held" if ours <= (1 + HOLD_SHARE) * bare else "NOT HELD"
    yield (
        f"| Validation of {ROWS:,} rows, {COLUMNS} columns, {len(rules)} rules "
        f"| bare `checkpoint.run` | {ours * 1000:.0f} ms | {bare * 1000:.0f} ms | {(ours - bare) * 1000:.0f} ms "
        f"| {ours / bare:.2f} | ≤ {HOLD_SHARE:.0%} more: {held} |"
    )
    memory, peer = (statistics.median(one["bytes"] for one in found[side]) for side in ("ours", "bare"))
    frame = found["ours"][0]["frame"]
    held = "held" if memory <= HOLD_FRAMES * frame else "NOT HELD"
    yield (
        f"| Peak memory of it, over a frame of {frame / 1e6:.0f} MB | bare `checkpoint.run` | {memory / 1e6:.0f} MB "
        f"| {peer / 1e6:.0f} MB | {(memory - peer) / 1e6:.0f} MB | {memory / frame:.2f} frames "
        f"| ≤ {HOLD_FRAMES:.0f} frames: {held} |"
    )
