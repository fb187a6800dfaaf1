"""``make bench``: what the project promises about cost, measured against the named peer in the same run."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import evaluation, imports, rollouts, triggerer, validation

#: Measured with the fixtures of the tests; the pods where there is a cluster.
WITH_FIXTURES = ("rollout_slots.py", "pods.py", "warm_pod.py")


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help="runs of each measurement, interleaved")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, Airflow {version('apache-airflow')}, {platform.machine()}")
    print("Medians of processor time")
    print("\n| Measure | Against | Ours | Peer | More | Ratio | Hold |\n|---|---|---|---|---|---|---|")
    for row in imports.measure(options.runs):
        print(row)
    for row in validation.measure(options.runs):
        print(row)
    for row in evaluation.measure(options.runs):
        print(row)
    for row in triggerer.measure():
        print(row)
    for name in WITH_FIXTURES:
        for row in measure_with_fixtures(Path(__file__).with_name(name)):
            print(row)
    print("\nWho rolls back wrongly, and who misses what\n")
    print("\n".join(rollouts.measure()))


def measure_with_fixtures(file: Path) -> list[str]:
    """Run a file of measurements and return its rows.

    :raises SystemExit: if a measurement failed
    """
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "tests.system.kubernetes.conftest", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stdout[-4000:] + done.stderr[-2000:])
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    return rows or [f"({file.name}: {done.stdout.splitlines()[-1]}; start a cluster, or set KUBECONFIG)"]


if __name__ == "__main__":
    main()
