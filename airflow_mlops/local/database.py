"""Airflow's metadata database: made, brought up to date and set to write ahead, before any component starts.

``python -m airflow_mlops.local.database --home DIR`` runs in the environment of the stack's Airflow.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local.airflow import airflow_command
from airflow_mlops.local.home import LocalHome

__all__ = ["is_current", "main"]


def is_current(home: LocalHome) -> bool:
    """Whether the database was already brought up to the installed Airflow."""
    database, marker = _files(home)
    return database.exists() and read_json(marker) == {"airflow": _airflow_version()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Migrate the database; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="airflow_mlops.local.database")
    parser.add_argument("--home", required=True, type=Path)
    home = LocalHome(parser.parse_args(arguments).home)
    status = subprocess.run(airflow_command("db", "migrate"), check=False).returncode  # noqa: S603 - fixed command
    if status != 0:
        return status
    database, marker = _files(home)
    connection = sqlite3.connect(database)
    try:
        # Readers and the writer no longer wait for each other; the mode is kept in the file.
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    atomic_write_json(marker, {"airflow": _airflow_version()})
    return 0


def _files(home: LocalHome) -> tuple[Path, Path]:
    return home.airflow / "airflow.db", home.airflow / "database.json"


def _airflow_version() -> str:
    return importlib.metadata.version("apache-airflow-core")


if __name__ == "__main__":
    sys.exit(main())
