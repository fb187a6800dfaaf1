"""What importing an operator and parsing a DAG cost over a bare ``BaseOperator``.

Every module is compiled before the first measurement, as ``pip install`` leaves it: where the environment forbids
Python to write bytecode, compiling our modules at every import would cost more than importing them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HOLD_MILLISECONDS = 50.0
DAGS = Path(__file__).resolve().parents[2] / "dags"

_BARE_IMPORT = "from airflow.sdk import BaseOperator"
_ALL_OPERATORS = """
from airflow.sdk import BaseOperator
import airflow_mlops.operators as operators
for name in operators.__all__:
    if not operators._MODULES[name].startswith(("kubernetes", "pod_")):
        getattr(operators, name)
"""
# What a pod task costs to import is its base class; only what comes on top is ours.
_POD_OPERATOR = "from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator"
_PLAIN_POD_OPERATOR = "from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator"
_TIMED = """
import time, os, sys
sys.path.insert(0, {path!r})
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
import airflow.sdk
started = time.process_time()
{body}
print(time.process_time() - started)
"""
_PLAIN_DAG = """
from airflow.sdk import dag, task, BaseOperator, Param
@dag(schedule=None, params={"month": Param(None, type=["null", "string"])})
def plain():
    @task
    def first(): return 1
    @task
    def second(value): return value
    operators = [BaseOperator(task_id=f"step_{number}") for number in range(6)]
    second(first()) >> operators
plain()
"""


def measure(runs: int) -> Iterator[str]:
    """Yield a table row for every measurement.

    :param runs: how often each side is measured, the two in turn
    """
    ours, bare = _interleaved(_ALL_OPERATORS, _BARE_IMPORT, str(DAGS), runs)
    yield _row("Import of every operator but those of pods", "bare `BaseOperator`", ours, bare)
    ours, bare = _interleaved(_POD_OPERATOR, _PLAIN_POD_OPERATOR, str(DAGS), runs)
    yield _row("Import of `TrainOnKubernetesOperator`", "plain `KubernetesPodOperator`", ours, bare)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.py"
        plain.write_text(_PLAIN_DAG)
        for dag in sorted(DAGS.glob("*_flights.py")):
            ours, bare = _interleaved(_run(dag), _run(plain), str(DAGS), runs)
            yield _row(f"Parse of `{dag.name}`", "plain DAG of eight tasks", ours, bare)


def _run(file: Path) -> str:
    return f"import runpy; runpy.run_path({str(file)!r})"


def _interleaved(ours: str, peer: str, path: str, runs: int) -> tuple[float, float]:
    times: tuple[list[float], list[float]] = ([], [])
    with tempfile.TemporaryDirectory() as compiled:
        variables = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for round_number in range(runs + 1):
            for body, kept in zip((ours, peer), times, strict=True):
                code = _TIMED.format(path=path, body=body)
                answer = subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables
                )
                if round_number > 0:  # the first one compiles
                    kept.append(float(answer.stdout.splitlines()[-1]) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])


def _row(measure: str, against: str, ours: float, peer: float) -> str:
    more = ours - peer
    held = "held" if more <= HOLD_MILLISECONDS else "NOT HELD"
    ratio = f"{ours / peer:.2f}" if peer else "-"
    return (
        f"| {measure} | {against} | {ours:.0f} ms | {peer:.0f} ms | {more:.0f} ms | {ratio} "
        f"| ≤ {HOLD_MILLISECONDS:.0f} ms more: {held} |"
    )
