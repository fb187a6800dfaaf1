"""Right and wrong at equal age, with labels in files and in a database."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.metrics.equal_age import LabelLookup, LabelTallies
from airflow_mlops.adapters.metrics.labels_files import FileLabels
from airflow_mlops.adapters.metrics.labels_sql import SqlLabels
from airflow_mlops.adapters.tables.sql import SqlTable
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.observation import Tally
from airflow_mlops.testing.rollout import ManualClock

AGE, SETTLE = 100.0, 5.0
QUERY = "SELECT flight AS id, late AS label, known_at AS arrived_at FROM arrivals"


class Labels:
    """Labels at both places, which have to give the same."""

    def __init__(self, folder: Path) -> None:
        self.file, self.database = folder / "labels" / "m" / "labels.jsonl", folder / "labels.db"
        self.file.parent.mkdir(parents=True)
        self.file.touch()
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("CREATE TABLE arrivals (flight TEXT, late INTEGER, known_at TEXT)")

    def arrive(self, identifier: str, label: Any, at: float) -> None:
        with self.file.open("a") as stream:
            stream.write(json.dumps({"id": identifier, "label": label, "time": at}) + "\n")
        moment = datetime.fromtimestamp(at, tz=UTC).isoformat(sep=" ")
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("INSERT INTO arrivals VALUES (?, ?, ?)", (identifier, label, moment))

    def lookup(self, kind: str) -> LabelLookup:
        if kind == "files":
            return FileLabels(self.file.parent.parent)
        return SqlLabels(SqlTable(f"sqlite:///{self.database}", connection="warehouse", query=QUERY))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
def labels(tmp_path: Path) -> Labels:
    return Labels(tmp_path)


@pytest.fixture(params=["files", "sql"])
def source(request: pytest.FixtureRequest, tmp_path: Path, labels: Labels, clock: ManualClock) -> LabelTallies:
    lookup = labels.lookup(request.param)
    return LabelTallies(tmp_path, lookup, age_seconds=AGE, settle_seconds=SETTLE, clock=clock)


@pytest.fixture
def predict(tmp_path: Path) -> Iterator[Callable[..., None]]:
    def predict(identifier: str, prediction: float, at: float, version: str = "1") -> None:
        path = tmp_path / "m" / version / "a.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(json.dumps({"id": identifier, "time": at, "prediction": prediction}) + "\n")

    return predict


def test_a_prediction_counts_when_it_is_old_enough_and_its_label_if_it_was_in_time(
    source: LabelTallies, labels: Labels, clock: ManualClock, predict: Callable[..., None]
) -> None:
    for number, (prediction, label, delay) in enumerate(
        [(0.9, 1, 10), (0.9, 0, 99), (0.1, 0, 100), (0.1, 1, 101), (0.5, 0, 1)]
    ):
        predict(f"f{number}", prediction, 1000.0)
        labels.arrive(f"f{number}", label, 1000.0 + delay)
    predict("f5", 0.2, 1000.0)
    predict("f6", 0.2, 1001.0)
    clock.time = 1000.0 + AGE + SETTLE - 0.1
    assert source.read(["m-v1"], ["labels"]) == {"m-v1": {"labels": Tally(0, 0), "labelled": Tally(0, 0)}}
    clock.advance(0.2)
    # f3's label came too late and f5 has none.
    assert source.read(["m-v1"], ["labels"]) == {"m-v1": {"labels": Tally(4, 2), "labelled": Tally(6, 4)}}


def test_a_label_that_is_late_for_its_prediction_never_counts_however_long_one_waits(
    source: LabelTallies, labels: Labels, clock: ManualClock, predict: Callable[..., None]
) -> None:
    predict("f", 0.9, 1000.0)
    labels.arrive("f", 0, 1500.0)
    clock.time = 9000.0
    assert source.read(["m-v1"], ["labels"])["m-v1"] == {"labels": Tally(0, 0), "labelled": Tally(1, 0)}


def test_the_last_label_in_time_counts_and_one_of_an_earlier_prediction_does_not(
    source: LabelTallies, labels: Labels, clock: ManualClock, predict: Callable[..., None]
) -> None:
    labels.arrive("f", 1, 500.0)
    predict("f", 0.9, 1000.0)
    labels.arrive("f", 1, 1010.0)
    labels.arrive("f", 0, 1020.0)
    labels.arrive("f", 1, 1200.0)
    predict("g", 0.9, 1000.0)
    labels.arrive("g", 0, 900.0)
    clock.time = 1300.0
    assert source.read(["m-v1"], ["labels"])["m-v1"] == {"labels": Tally(1, 1), "labelled": Tally(2, 1)}


@pytest.mark.parametrize("kind", ["files", "sql"])
def test_whoever_looks_whenever_counts_the_same(tmp_path: Path, kind: str, predict: Callable[..., None]) -> None:
    """A process that looked all the time, one that begins late, and the truth agree."""
    dice = random.Random(5)
    labels, clock = Labels(tmp_path), ManualClock(1000.0)

    def begin() -> LabelTallies:
        lookup = labels.lookup(kind)
        return LabelTallies(tmp_path, lookup, age_seconds=AGE, settle_seconds=SETTLE, clock=clock)

    steady = begin()
    made: list[tuple[float, float, int, float]] = []
    due: list[tuple[float, str, int]] = []
    (tmp_path / "m").mkdir()
    for second in range(400):
        clock.time = 1000.0 + second
        prediction, label, delay = dice.random(), dice.randrange(2), dice.uniform(0, 150)
        predict(f"f{second}", prediction, clock.time, "2")
        made.append((clock.time, prediction, label, delay))
        due.append((clock.time + delay, f"f{second}", label))
        for item in [item for item in due if item[0] <= clock.time]:
            labels.arrive(item[1], item[2], item[0])
            due.remove(item)
        if dice.random() < 0.05:
            old = [one for one in made if one[0] <= clock.time - AGE - SETTLE]
            told = [one for one in old if one[3] <= AGE]
            wrong = sum((one[1] >= 0.5) != bool(one[2]) for one in told)
            expected = {"labels": Tally(len(told), wrong), "labelled": Tally(len(old), len(told))}
            assert steady.read(["m-v2"], ["labels"])["m-v2"] == expected
            assert begin().read(["m-v2"], ["labels"])["m-v2"] == expected


def test_a_look_that_fails_is_made_up_for(
    source: LabelTallies, labels: Labels, clock: ManualClock, predict: Callable[..., None], tmp_path: Path
) -> None:
    predict("f", 0.9, 1000.0)
    labels.arrive("f", 0, 1010.0)
    labels.arrive("broken", 7, 1010.0)
    predict("broken", 0.9, 1001.0)
    clock.time = 5000.0
    for _ in range(2):
        with pytest.raises(ContractError, match="label is 7, neither 0 nor 1"):
            source.read(["m-v1"], ["labels"])
        clock.advance(1000.0)
    labels.file.write_text(labels.file.read_text().replace("7", "0"))
    with closing(sqlite3.connect(labels.database)) as connection, connection:
        connection.execute("UPDATE arrivals SET late = 0")
    assert source.read(["m-v1"], ["labels"])["m-v1"] == {"labels": Tally(2, 2), "labelled": Tally(2, 2)}


def test_what_is_missing_is_named(tmp_path: Path, labels: Labels, clock: ManualClock) -> None:
    (tmp_path / "m").mkdir()
    narrow = SqlTable(f"sqlite:///{labels.database}", connection="warehouse", query="SELECT flight AS id FROM arrivals")
    with pytest.raises(SpecificationError, match=r"'id' is not accepted; .* columns id, label, arrived_at"):
        LabelTallies(tmp_path, SqlLabels(narrow), age_seconds=1, clock=clock).read(["m-v1"], ["labels"])
    with pytest.raises(PermanentAdapterError, match="there are no labels of model 'm' here"):
        LabelTallies(tmp_path, FileLabels(tmp_path / "none"), age_seconds=1).read(["m-v1"], ["labels"])
    with pytest.raises(SpecificationError, match="age_seconds: -1"):
        LabelTallies(tmp_path, FileLabels(tmp_path), age_seconds=-1)
