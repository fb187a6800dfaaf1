"""The embedded stack's database, as Airflow's own migrations make it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.exceptions import ContractError
from airflow_mlops.local.database import keep_trigger_numbers

pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A copy of a migrated database, with whatever other tests have left in it."""
    from airflow.settings import engine

    assert engine is not None
    copy = tmp_path / "airflow.db"
    with closing(sqlite3.connect(str(engine.url.database))) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


@pytest.fixture
def session(database: Path) -> Iterator[Any]:
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine(f"sqlite:///{database}")
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_a_deleted_triggers_number_is_not_given_again(database: Path, session: Any) -> None:
    first, second = _deferred(session), _deferred(session)
    keep_trigger_numbers(database)
    for _ in range(3):
        session.delete(second)
        session.commit()
        second, gone = _deferred(session), second.id
        assert second.id > gone
    assert session.get(type(first), first.id).classpath == "waits"
    keep_trigger_numbers(database)
    assert _deferred(session).id == second.id + 1


def test_nothing_else_changes(database: Path) -> None:
    before = _schema(database)
    keep_trigger_numbers(database)
    after = _schema(database)
    assert "AUTOINCREMENT" in after.pop(("table", "trigger"))
    assert "AUTOINCREMENT" not in before.pop(("table", "trigger"))
    assert after == before
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_table_that_it_does_not_know_stays_as_it_is(tmp_path: Path) -> None:
    database = tmp_path / "other.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute('CREATE TABLE "trigger" (number INTEGER NOT NULL, CONSTRAINT pk PRIMARY KEY (number))')
    before = _schema(database)
    with pytest.raises(ContractError, match="table of triggers is not as expected"):
        keep_trigger_numbers(database)
    assert _schema(database) == before


def _deferred(session: Any) -> Any:
    from airflow.models.trigger import Trigger

    trigger = Trigger(classpath="waits", kwargs={})
    session.add(trigger)
    session.commit()
    return trigger


def _schema(database: Path) -> dict[tuple[str, str], str]:
    with closing(sqlite3.connect(database)) as connection:
        return {
            (kind, name): sql for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master")
        }
