"""Run by the model environment's Python: the flights training, with the delay at departure as one more feature."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "dags/flights/train.py"


def main() -> None:
    spec = importlib.util.spec_from_file_location("flights_train", SCRIPT)
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    train.REAL = (*train.REAL, "dep_delay")
    train.FEATURES["dep_delay"] = "double"
    train.main()


if __name__ == "__main__":
    main()
