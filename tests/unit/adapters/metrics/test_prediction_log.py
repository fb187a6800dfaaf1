"""How predictions lie, counted out of a log that somebody writes meanwhile."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.metrics.prediction_log import PredictionLogTallies
from airflow_mlops.container.prediction_log import open_log
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.checks import tally_above
from airflow_mlops.rollout.observation import Tally

HALF = tally_above(0.5)


def line(prediction: float, number: int = 0) -> dict[str, Any]:
    return {"id": f"r{number}", "time": 1000.0 + number, "prediction": prediction, "features": {"x": 1.0}}


def write(path: Path, *predictions: float, torn: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        for prediction in predictions:
            stream.write(json.dumps(line(prediction)) + "\n")
        stream.write(torn)


def count(source: PredictionLogTallies, target: str = "m-v1") -> Tally:
    return source.read([target], [HALF])[target][HALF]


def test_what_the_model_server_logs_is_counted_per_version(tmp_path: Path) -> None:
    with open_log(tmp_path, model_name="m", version="1") as old, open_log(tmp_path, model_name="m", version="2") as new:
        for prediction in (0.1, 0.5, 0.9):
            old.append(line(prediction))
        new.append(line(0.7))
        found = PredictionLogTallies(tmp_path).read(["m-v1", "m-v2", "m-v3"], [HALF, tally_above(0.8)])
    assert found == {
        "m-v1": {HALF: Tally(3, 2), tally_above(0.8): Tally(3, 1)},
        "m-v2": {HALF: Tally(1, 1), tally_above(0.8): Tally(1, 0)},
        "m-v3": {HALF: Tally(0, 0), tally_above(0.8): Tally(0, 0)},
    }


@pytest.mark.parametrize("edge", [0.5, 1e-05, -2.0, 123456.75])
def test_the_names_of_all_edges_are_understood(tmp_path: Path, edge: float) -> None:
    write(tmp_path / "m" / "1" / "a.jsonl", edge, edge - 1e-6)
    source = PredictionLogTallies(tmp_path)
    assert source.counts(tally_above(edge))
    assert source.read(["m-v1"], [tally_above(edge)])["m-v1"][tally_above(edge)] == Tally(2, 1)
    assert not source.counts("labels")


def test_a_look_reads_only_what_is_new(tmp_path: Path) -> None:
    log = tmp_path / "m" / "1" / "a.jsonl"
    write(log, *[0.9] * 1200)
    source = PredictionLogTallies(tmp_path)
    assert count(source) == Tally(1200, 1200)
    # What was read once could be anything by now.
    size = log.stat().st_size
    with log.open("r+b") as stream:
        stream.write(b"\0" * (size - 1))
    write(log, 0.1)
    assert count(source) == Tally(1201, 1200)


def test_a_torn_last_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "m" / "1" / "a.jsonl"
    text = json.dumps(line(0.9))
    write(log, 0.9, torn=text[:20])
    source = PredictionLogTallies(tmp_path)
    assert count(source) == Tally(1, 1)
    write(log, torn=text[20:] + "\n")
    assert count(source) == Tally(2, 2)


def test_a_line_in_the_middle_that_is_no_prediction_is_named_at_every_look(tmp_path: Path) -> None:
    log = tmp_path / "m" / "1" / "a.jsonl"
    write(log, 0.9, torn='{"id": "x", "time": 1}\n')
    source = PredictionLogTallies(tmp_path)
    for _ in range(2):
        with pytest.raises(ContractError, match=r"a\.jsonl, at byte \d+: prediction is missing"):
            count(source)


def test_a_file_that_vanished_takes_nothing_back_and_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "m" / "1"
    write(folder / "a.jsonl", 0.9, 0.9)
    write(folder / "b.jsonl", 0.1)
    source = PredictionLogTallies(tmp_path)
    assert count(source) == Tally(3, 2)
    (folder / "a.jsonl").unlink()
    write(folder / "b.jsonl", 0.2)
    with caplog.at_level(logging.WARNING):
        assert count(source) == Tally(4, 2)
        shutil.rmtree(folder)
        assert count(source) == Tally(4, 2)
    assert "vanished: a.jsonl; what was counted of them stays" in caplog.text


def test_a_file_that_was_cut_or_replaced_is_counted_from_its_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "m" / "1" / "a.jsonl"
    write(log, 0.9, 0.9)
    source = PredictionLogTallies(tmp_path)
    count(source)
    log.write_text("")
    write(log, 0.1)
    assert count(source) == Tally(3, 2)
    log.rename(tmp_path / "elsewhere")
    write(log, 0.9, 0.1, 0.1)
    assert count(source) == Tally(6, 3)
    assert caplog.text.count("is not the file that it was") == 2


def test_another_model_or_name_is_told(tmp_path: Path) -> None:
    source = PredictionLogTallies(tmp_path)
    with pytest.raises(PermanentAdapterError, match="no predictions of model 'm' here"):
        count(source)
    with pytest.raises(SpecificationError, match="<model>-v<version>"):
        count(source, "m1")
