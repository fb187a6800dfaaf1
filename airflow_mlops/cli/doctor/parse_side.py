"""Parses a DAG folder and writes what it cost; run as a file: ``python parse_side.py FOLDER OUTPUT``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["parse"]

#: What no DAG file should load. Airflow itself loads none of them.
_HEAVY = (
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "torch",
    "tensorflow",
    "mlflow",
    "great_expectations",
    "kubernetes",
    "docker",
)


def parse(folder: str) -> dict[str, Any]:
    """Return seconds by file, errors by file, and the heavy libraries that parsing loaded."""
    from airflow.dag_processing.dagbag import BundleDagBag

    before = set(sys.modules)
    bag = BundleDagBag(dag_folder=folder, bundle_path=Path(folder))
    return {
        "files": {one.file: one.duration.total_seconds() for one in bag.dagbag_stats},
        "errors": dict(bag.import_errors),
        "heavy": [name for name in _HEAVY if name in sys.modules and name not in before],
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(parse(sys.argv[1])), encoding="utf-8")
