"""Prediction logs read from their ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.predictions.tail import AnswerFiles, read_labels, read_requests
from airflow_mlops.exceptions import PermanentAdapterError


def line(key: str, time: float, prediction: Any = 0.5) -> str:
    return json.dumps({"id": key, "time": time, "prediction": prediction, "latency_ms": 2.0, "features": {"x": key}})


def append(root: Path, version: str, *lines: str, name: str = "a", end: str = "\n") -> None:
    folder = root / "m" / version
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("a") as stream:
        stream.write("\n".join(lines) + end)


def files(root: Path, since: float = 0.0) -> AnswerFiles:
    return AnswerFiles(root, "m", {"candidate": "2", "stable": "1"}, since=since, labels=root / "labels")


def ids(log: AnswerFiles) -> list[str]:
    return [f"{arm[0]}{answer.id}" for arm, answer in log.answers()]


def test_every_line_is_read_once_in_the_order_of_time(tmp_path: Path) -> None:
    log = files(tmp_path)
    assert ids(log) == []
    append(tmp_path, "1", line("a", 1), line("b", 3))
    append(tmp_path, "2", line("a", 2), line("b", 4))
    assert ids(log) == ["sa", "ca", "sb", "cb"]
    assert ids(log) == []
    append(tmp_path, "2", line("c", 5), name="restarted")
    append(tmp_path, "1", line("c", 6))
    assert ids(log) == ["cc", "sc"]


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path: Path) -> None:
    log, whole = files(tmp_path), line("a", 1)
    append(tmp_path, "1", whole[:20], end="")
    assert ids(log) == []
    append(tmp_path, "1", whole[20:])
    assert ids(log) == ["sa"]
    assert log.unreadable == 0


def test_what_is_no_answer_is_counted_and_left_out(tmp_path: Path) -> None:
    log = files(tmp_path)
    append(tmp_path, "1", "no json", "[]", line("a", 1, None), line("", 1), line("b", 2))
    assert ids(log) == ["sb"]
    assert log.unreadable == 4


def test_earlier_lines_are_skipped_without_reading_them_all(tmp_path: Path) -> None:
    append(tmp_path, "1", *(line(str(number), number) for number in range(20_000)))
    log = files(tmp_path, since=19_998)
    assert ids(log) == ["s19998", "s19999"]
    begins = files(tmp_path, since=10_000.5)
    found = ids(begins)
    assert (found[0], len(found)) == ("s10001", 9_999)


def test_the_last_requests_are_those_of_the_range(tmp_path: Path) -> None:
    append(tmp_path, "1", *(line(str(number), number) for number in range(5_000)))
    append(tmp_path, "1", *(line(str(number), number) for number in range(5_000, 5_010)), name="b")
    found = read_requests(tmp_path, "m", "1", most=20)
    assert [request.answer.id for request in found] == [str(number) for number in range(4_990, 5_010)]
    assert found[0].features == {"x": "4990"}
    found = read_requests(tmp_path, "m", "1", most=3, since=4_000, until=4_500)
    assert [request.answer.id for request in found] == ["4497", "4498", "4499"]
    with pytest.raises(PermanentAdapterError, match="no predictions of version 7"):
        read_requests(tmp_path, "m", "7", most=3)


def test_labels_are_read_once_and_by_id(tmp_path: Path) -> None:
    folder = tmp_path / "labels" / "m"
    folder.mkdir(parents=True)
    rows = [{"id": "a", "time": 1, "label": 1}, {"id": "b", "time": 1, "label": 0}, {"id": "c", "time": 1, "label": 7}]
    (folder / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = files(tmp_path)
    assert log.labels() == {"a": 1, "b": 0}
    assert log.labels() == {}
    assert read_labels(tmp_path / "labels", "m", ["b", "z"]) == {"b": 0}
