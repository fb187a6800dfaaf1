"""Files of JSON lines, and the prediction log that is made of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from airflow_mlops.container.lines import LineFile, read_lines
from airflow_mlops.container.prediction_log import Prediction, log_path, open_log, row_id


class Noon:
    def now(self):
        return 1_357_041_600.25


def test_lines_are_read_in_the_order_in_which_they_were_written(tmp_path):
    path = tmp_path / "deep" / "lines.jsonl"
    with LineFile(path) as lines:
        lines.append({"n": 1, "text": "Zürich\nbreaks no line"})
    with LineFile(path) as lines:
        lines.append({"n": 2})
    assert [line["n"] for line in read_lines([path]).documents] == [1, 2]


def test_what_was_torn_is_cut_off_when_the_file_is_opened_again(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n":1}\n{"n":2}\n{"n":')
    assert read_lines([path]).torn == 1
    with LineFile(path) as lines:
        lines.append({"n": 3})
    assert [line["n"] for line in read_lines([path]).documents] == [1, 2, 3]
    assert read_lines([path]).torn == 0


def test_a_file_of_nothing_but_a_torn_line_starts_afresh(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("x" * 200_000)
    with LineFile(path) as lines:
        lines.append({"n": 1})
    assert path.read_text() == '{"n":1}\n'


def test_only_the_end_is_read_where_that_is_asked_for(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"n":{n}}}\n' for n in range(1000)))
    found = read_lines([path], last_bytes=100)
    assert found.torn == 0
    assert found.documents[-1] == {"n": 999}
    assert len(found.documents) < 12


def test_a_missing_file_holds_nothing(tmp_path):
    assert read_lines([tmp_path / "none.jsonl"]).documents == ()


def test_nan_is_refused(tmp_path):
    with LineFile(tmp_path / "lines.jsonl") as lines, pytest.raises(ValueError, match="not JSON compliant"):
        lines.append({"n": float("nan")})


def test_a_kill_tears_at_most_the_last_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    code = f"""
from pathlib import Path
from airflow_mlops.container.lines import LineFile
lines, n = LineFile(Path({str(path)!r})), 0
while True:
    lines.append({{"n": n, "filler": "x" * 2000}})
    n += 1
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while (not path.exists() or path.stat().st_size < 500_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    raw = path.read_bytes()
    found = read_lines([path])
    assert found.torn == (0 if raw.endswith(b"\n") else 1)
    assert [line["n"] for line in found.documents] == list(range(len(found.documents)))
    assert len(found.documents) > 100


def test_a_full_disk_costs_the_lines_it_cuts_and_no_others(tmp_path):
    path = tmp_path / "lines.jsonl"
    code = f"""
import resource, signal
from pathlib import Path
from airflow_mlops.container.lines import LineFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
lines = LineFile(Path({str(path)!r}))
lines.append({{"n": 1}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
for n in (2, 3):
    try:
        lines.append({{"n": n, "filler": "x" * 100}})
    except OSError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
lines.append({{"n": 4}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "wrote 12 of" in done.stdout
    assert path.read_text() == '{"n":1}\n{"n":4}\n'


def test_a_prediction_is_one_line_of_the_agreed_form(tmp_path):
    with open_log(tmp_path, model_name="flights", version="3", clock=Noon()) as log:
        log.append(
            Prediction(
                id="2013-01-01-UA-1",
                time=1.5,
                model="flights",
                version="3",
                features={"carrier": "UA", "temp": None},
                prediction=0.25,
                latency_ms=4.2,
            ).document()
        )
    assert log.path.parent == tmp_path / "flights" / "3"
    assert log.path.name.startswith("20130101T120000250000Z-")
    assert json.loads(log.path.read_text()) == {
        "id": "2013-01-01-UA-1",
        "time": 1.5,
        "model": "flights",
        "version": "3",
        "features": {"carrier": "UA", "temp": None},
        "prediction": 0.25,
        "latency_ms": 4.2,
    }


def test_a_log_is_never_shared_by_two_starts(tmp_path):
    open_log(tmp_path, model_name="flights", version="3", clock=Noon()).close()
    with pytest.raises(FileExistsError):
        open_log(tmp_path, model_name="flights", version="3", clock=Noon())


def test_log_names_sort_by_time(tmp_path):
    names = [
        log_path(tmp_path, model_name="m", version="1", started_at=at, pid=pid).name
        for at, pid in ((999_999_999.5, 9), (1_000_000_000.0, 10), (1_000_000_000.000001, 1))
    ]
    assert names == sorted(names)


def test_rows_of_one_request_have_ids_of_their_own():
    assert row_id("flight", 0, 1) == "flight"
    assert [row_id("batch", row, 2) for row in range(2)] == ["batch/0", "batch/1"]
