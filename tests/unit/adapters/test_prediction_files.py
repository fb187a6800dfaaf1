"""Prediction logs and labels as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_mlops.adapters.predictions.files import LabelFiles, PredictionFiles
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.monitoring.window import Window

JUNE = Window(id_prefix="2013-06")


def line(identifier: str = "2013-06-01-UA", **changes) -> str:
    value = {"id": identifier, "time": 1.0, "model": "flights", "version": "1", "features": {"a": 1}, "prediction": 0.5}
    return json.dumps(value | changes) + "\n"


def write(root: Path, version: str, name: str, *lines: str) -> None:
    folder = root / "flights" / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(lines))


def test_a_window_is_read_from_all_files_of_a_version(tmp_path):
    write(tmp_path, "1", "a.jsonl", line("2013-06-01-a"), line("2013-05-31-b"))
    write(tmp_path, "1", "b.jsonl", line("2013-06-02-c"))
    write(tmp_path, "2", "a.jsonl", line("2013-06-03-d", version="2"))
    log = PredictionFiles(tmp_path)

    one, result = log.read("flights", JUNE, version="1")
    every, _ = log.read("flights", JUNE, version=None)

    assert [row.id for row in one] == ["2013-06-01-a", "2013-06-02-c"]
    assert (result.files, result.lines, result.unreadable) == (2, 3, 0)
    assert len(every) == 3


def test_a_torn_last_line_is_counted_and_left_out(tmp_path):
    write(tmp_path, "1", "a.jsonl", line("2013-06-01-a"), line("2013-06-02-b")[:30])

    rows, result = PredictionFiles(tmp_path).read("flights", JUNE, version="1")

    assert len(rows) == 1
    assert (result.torn, result.unreadable, result.first_problem) == (1, 0, None)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("not json\n", "a.jsonl:2: Expecting value"),
        ("[1]\n", "a.jsonl:2: a mapping is expected, not list"),
        ('{"id": "2013-06-01-x", "time": 1}\n', "a.jsonl:2: prediction is missing"),
        (line(prediction=1.5), "a.jsonl:2: prediction is 1.5, not a probability"),
        (line(prediction=None), "a.jsonl:2: prediction is None, not a finite number"),
        (line(7), "a.jsonl:2: id is not a text"),
    ],
)
def test_other_bad_lines_are_counted_and_the_first_is_named(tmp_path, bad, problem):
    write(tmp_path, "1", "a.jsonl", line(), bad, line("2013-06-02-b"))

    rows, result = PredictionFiles(tmp_path).read("flights", JUNE, version="1")

    assert len(rows) == 2
    assert (result.torn, result.unreadable) == (0, 1)
    assert result.first_problem.startswith(problem)


def test_a_version_without_a_log_has_no_rows(tmp_path):
    write(tmp_path, "1", "a.jsonl", line())

    rows, result = PredictionFiles(tmp_path).read("flights", JUNE, version="9")

    assert (rows, result.files) == ([], 0)


def test_labels_may_arrive_at_any_time(tmp_path):
    (tmp_path / "flights").mkdir()
    text = "".join(
        json.dumps({"id": one, "label": value, "time": 9e9}) + "\n"
        for one, value in (("2013-06-01-a", 1), ("2013-07-01-b", 0), ("2013-06-02-c", 2))
    )
    (tmp_path / "flights" / "labels.jsonl").write_text(text)

    rows, result = LabelFiles(tmp_path).read("flights", Window(id_prefix="2013-06", until=10.0))

    assert [(row.id, row.label) for row in rows] == [("2013-06-01-a", 1)]
    assert result.first_problem == "labels.jsonl:3: label is 2.0, neither 0 nor 1"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PermanentAdapterError, match="there are no predictions of model 'flights' here"):
        PredictionFiles(tmp_path).read("flights", JUNE, version=None)
    with pytest.raises(PermanentAdapterError, match="there are no labels of model 'flights' here"):
        LabelFiles(tmp_path).read("flights", JUNE)
