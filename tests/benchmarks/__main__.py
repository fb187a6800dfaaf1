"""``make bench``: what the project promises about cost, measured against the named peer in the same run."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version

from tests.benchmarks import imports


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


if __name__ == "__main__":
    main()
