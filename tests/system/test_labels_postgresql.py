"""Labels at equal age out of a real PostgreSQL, by an Airflow connection."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_mlops.adapters.metrics.equal_age import LabelTallies
from airflow_mlops.adapters.metrics.labels_sql import SqlLabels
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.sql import open_table
from airflow_mlops.rollout.observation import Tally
from airflow_mlops.testing.rollout import ManualClock
from tests.airflow.conftest import connection  # noqa: F401 - a fixture
from tests.postgresql import postgresql_server

pytest.importorskip("pg8000", reason="the driver of the tests: pip install pg8000")

pytestmark = pytest.mark.system

AGE, SETTLE, PREDICTIONS = 100.0, 5.0, 3000
QUERY = "SELECT flight AS id, late AS label, known_at AS arrived_at FROM arrivals;"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as plain:
        yield plain


@pytest.fixture
def warehouse(url: str, connection: Callable[..., None]) -> Any:  # noqa: F811
    """An engine for the test; the connection ``warehouse`` leads to the same database."""
    import sqlalchemy

    parts = urlsplit(url)
    connection(
        "warehouse",
        conn_type="postgres",
        host=parts.hostname,
        port=parts.port,
        login=parts.username,
        password=parts.password,
        schema=parts.path.strip("/"),
        extra={"sqlalchemy_scheme": "postgresql+pg8000"},
    )
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+pg8000://"))
    with engine.begin() as opened:
        opened.execute(sqlalchemy.text("DROP TABLE IF EXISTS arrivals"))
        opened.execute(sqlalchemy.text("CREATE TABLE arrivals (flight TEXT, late BOOLEAN, known_at TIMESTAMPTZ)"))
        opened.execute(sqlalchemy.text("CREATE INDEX ON arrivals (flight)"))
    yield engine
    engine.dispose()


def insert(engine: Any, rows: list[tuple[str, bool | None, float]]) -> None:
    import sqlalchemy

    statement = sqlalchemy.text("INSERT INTO arrivals VALUES (:flight, :late, :known_at)")
    with engine.begin() as opened:
        opened.execute(
            statement,
            [{"flight": one, "late": late, "known_at": datetime.fromtimestamp(at, UTC)} for one, late, at in rows],
        )


def tallies(root: Path, clock: ManualClock, query: str = QUERY) -> LabelTallies:
    labels = SqlLabels(open_table("warehouse", query=query))
    return LabelTallies(root, labels, age_seconds=AGE, settle_seconds=SETTLE, clock=clock)


def log(root: Path, version: str, rows: list[tuple[str, float, float]]) -> None:
    path = root / "m" / version / "a.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.writelines(
            json.dumps({"id": identifier, "time": at, "prediction": prediction}) + "\n"
            for identifier, prediction, at in rows
        )


def test_both_arms_are_judged_at_the_same_age(tmp_path: Path, warehouse: Any) -> None:
    """The candidate is younger and its labels come later; only what is old enough and was in time counts."""
    dice = random.Random(11)
    expected = {"m-v1": [0, 0, 0], "m-v2": [0, 0, 0]}
    clock = ManualClock(2000.0)
    arrivals: list[tuple[str, bool | None, float]] = []
    for version, longest in (("1", 80.0), ("2", 200.0)):
        rows = []
        for number in range(PREDICTIONS):
            at, prediction, late = 1500.0 + number * 500 / PREDICTIONS, dice.random(), dice.random() < 0.4
            delay = dice.uniform(0, longest)
            rows.append((f"v{version}-f{number}", prediction, at))
            arrivals.append((f"v{version}-f{number}", late, at + delay))
            matured = at <= clock.time - AGE - SETTLE
            told = matured and delay <= AGE
            counted = expected[f"m-v{version}"]
            for position, holds in enumerate((matured, told, told and (prediction >= 0.5) != late)):
                counted[position] += holds
        log(tmp_path, version, rows)
    insert(warehouse, [one for one in arrivals if one[2] <= clock.time])
    source = tallies(tmp_path, clock)
    for _ in range(2):
        found = source.read(["m-v1", "m-v2"], ["labels"])
        assert found == {
            name: {"labels": Tally(told, wrong), "labelled": Tally(matured, told)}
            for name, (matured, told, wrong) in expected.items()
        }
    shares = {name: tally["labelled"].hits / tally["labelled"].total for name, tally in found.items()}
    assert shares["m-v1"] == 1
    assert 0.45 < shares["m-v2"] < 0.55
    clock.advance(1000.0)
    last = source.read(["m-v1", "m-v2"], ["labels"])
    assert last == tallies(tmp_path, clock).read(["m-v1", "m-v2"], ["labels"])
    assert last["m-v1"]["labelled"] == Tally(PREDICTIONS, PREDICTIONS - sum(one[2] > 2000 for one in arrivals[:3000]))


def test_what_cannot_be_asked_or_read_is_said_without_secrets(tmp_path: Path, warehouse: Any, url: str) -> None:
    clock = ManualClock(2000.0)
    log(tmp_path, "1", [("f", 0.9, 1000.0)])
    insert(warehouse, [("f", None, 1010.0)])
    with pytest.raises(ContractError, match=r"connection 'warehouse', label of 'f': .*NoneType"):
        tallies(tmp_path, clock).read(["m-v1"], ["labels"])
    with pytest.raises(PermanentAdapterError, match='relation "nowhere" does not exist') as refused:
        tallies(tmp_path, clock, QUERY.replace("arrivals", "nowhere")).read(["m-v1"], ["labels"])
    numbers = QUERY.replace("flight AS id", "7 AS id")
    with pytest.raises(PermanentAdapterError, match="integer = "):
        tallies(tmp_path, clock, numbers).read(["m-v1"], ["labels"])
    assert str(urlsplit(url).password) not in str(refused.value)


def test_a_database_that_goes_away_makes_the_look_unknown_and_comes_back(
    tmp_path: Path,
    connection: Callable[..., None],  # noqa: F811
    free_port: int,
) -> None:
    connection("warehouse", conn_type="postgres", host="127.0.0.1", port=free_port, login="a", password="s3cret")
    log(tmp_path, "1", [("f", 0.9, 1000.0)])
    with pytest.raises(TransientAdapterError, match="connection 'warehouse'") as caught:
        tallies(tmp_path, ManualClock(2000.0)).read(["m-v1"], ["labels"])
    assert "s3cret" not in str(caught.value)
