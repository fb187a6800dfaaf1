"""Airflow's metadata database: made, brought up to date and set up for a stack on SQLite, before any component starts.

``python -m airflow_mlops.local.database --home DIR`` runs in the environment of the stack's Airflow.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.exceptions import ContractError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local.airflow import airflow_command
from airflow_mlops.local.home import LocalHome

__all__ = ["is_current", "keep_trigger_numbers", "main"]


def is_current(home: LocalHome) -> bool:
    """Whether the database was already brought up to the installed Airflow."""
    database, marker = _files(home)
    return database.exists() and read_json(marker) == _made()


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
    keep_trigger_numbers(database)
    atomic_write_json(marker, _made())
    return 0


def keep_trigger_numbers(database: Path) -> None:
    """Let no new trigger get the number of one that is gone; may be repeated.

    SQLite gives the highest number again when its row was deleted. Airflow's triggerer ignores a trigger whose number
    it still knows, so the task that waits for it would wait for ever. The table is made anew as SQLite's documentation
    of ALTER TABLE describes, since nothing else changes how it numbers its rows.

    :raises ContractError: if the table is not written as Airflow's migrations write it
    """
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        # Off is the default, but not of every build: with it, dropping a table deletes what refers to it.
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN IMMEDIATE")
        ((made,),) = _definitions(connection, "table")
        if "AUTOINCREMENT" not in made.upper():
            _number_anew(connection, made)
        connection.execute("COMMIT")
    finally:
        connection.close()  # what was not committed is undone


def _number_anew(connection: sqlite3.Connection, made: str) -> None:
    named, names = re.subn(r'^CREATE TABLE "?trigger"?', "CREATE TABLE numbered_trigger", made)
    wanted, keys = re.subn(r"PRIMARY KEY \(id\)", "PRIMARY KEY (id AUTOINCREMENT)", named)
    if (names, keys) != (1, 1):
        raise ContractError(f"Airflow's table of triggers is not as expected: {made}")
    indexes = [sql for (sql,) in _definitions(connection, "index") if sql is not None]
    connection.execute(wanted)
    connection.execute('INSERT INTO numbered_trigger SELECT * FROM "trigger"')
    connection.execute('DROP TABLE "trigger"')
    connection.execute('ALTER TABLE numbered_trigger RENAME TO "trigger"')
    for sql in indexes:
        connection.execute(sql)


def _definitions(connection: sqlite3.Connection, kind: str) -> list[tuple[str]]:
    return connection.execute(
        "SELECT sql FROM sqlite_master WHERE type = ? AND tbl_name = 'trigger'", (kind,)
    ).fetchall()


def _files(home: LocalHome) -> tuple[Path, Path]:
    return home.airflow / "airflow.db", home.airflow / "database.json"


def _made() -> dict[str, object]:
    return {"airflow": importlib.metadata.version("apache-airflow-core"), "keeps_trigger_numbers": True}


if __name__ == "__main__":
    sys.exit(main())
