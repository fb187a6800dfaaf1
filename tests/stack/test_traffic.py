"""The traffic generator as a real process, against servers that answer, fail, hang and go away."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.container.lines import read_lines
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.local.trace import longest_outage, read_trace, statuses
from airflow_mlops.testing.gateway import ScriptedServer, scripted_server
from airflow_mlops.testing.model_server import model_server

pytestmark = pytest.mark.stack

PORT, MODEL_PORT = 23020, 23021


@dataclass
class Generator:
    """A generator's process and its files."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def trace(self) -> Path:
        return self.folder / "trace.jsonl"

    def labels(self) -> list[dict[str, Any]]:
        return list(read_lines([self.folder / "labels.jsonl"]).documents)

    def answered(self) -> int:
        return len(read_lines([self.trace]).documents)

    def wait(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=60)
        return self.process.returncode, output

    def wait_answers(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while self.answered() < count:
            assert time.monotonic() < deadline, f"{self.answered()} of {count} answers"
            time.sleep(0.02)


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    lines = [{"id": f"f{n}", "features": {"temp": 1.5 * n}, "label": n % 2} for n in range(50)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def generate(tmp_path: Path, requests_file: Path) -> Iterator[Callable[..., Generator]]:
    started: list[Generator] = []

    def start(*options: str, rate: float = 200, port: int = PORT, requests: Path = requests_file) -> Generator:
        command = [
            *(sys.executable, "-m", "airflow_mlops.local.traffic", "--requests", str(requests), "--rate", str(rate)),
            *("--url", f"http://127.0.0.1:{port}/v2/models/flights/infer", "--trace", str(tmp_path / "trace.jsonl")),
            *("--labels", str(tmp_path / "labels.jsonl"), "--label-delay-seconds", "0.2", *options),
        ]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(Generator(process, tmp_path))
        return started[-1]

    yield start
    for generator in started:
        if generator.process.poll() is None:
            generator.process.kill()
            generator.process.communicate()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server(PORT) as running:
        yield running


def test_every_request_is_answered_once_and_labelled_in_order(server, generate):
    generator = generate(rate=100)
    status, output = generator.wait()
    assert status == 0, output
    answers = read_trace([generator.trace])
    assert [answer.id for answer in answers] == [f"f{n}" for n in range(50)]
    assert statuses(answers) == {200: 50}
    labels = generator.labels()
    assert {label["id"]: label["label"] for label in labels} == {f"f{n}": n % 2 for n in range(50)}
    sent = {answer.id: answer.t for answer in answers}
    assert all(label["time"] - sent[label["id"]] >= 0.2 for label in labels)
    assert [label["time"] for label in labels] == sorted(label["time"] for label in labels)


def test_it_keeps_the_rate(server, generate):
    generator = generate("--loop", "--seconds", "3", rate=40)
    generator.wait()
    answers = read_trace([generator.trace])
    # A machine that is busy with other things slows it down, nothing speeds it up.
    assert 60 <= len(answers) <= 120
    assert answers[-1].t - answers[0].t > 2.0


def test_a_limit_ends_it(server, generate):
    generator = generate("--loop", "--limit", "70", rate=50)
    assert generator.wait()[0] == 0
    assert generator.answered() == 70


def test_errors_of_the_server_are_recorded(server, generate):
    server.error_rate = 0.5
    generator = generate()
    generator.wait()
    counts = statuses(read_trace([generator.trace]))
    assert counts.keys() == {200, 500}
    assert counts[500] > 10


def test_nobody_there_is_recorded_as_status_0_with_the_kind_of_error(generate):
    generator = generate("--limit", "20")
    assert generator.wait()[0] == 0
    lines = read_lines([generator.trace]).documents
    assert {(line["status"], line["server"], line["error"]) for line in lines} == {(0, None, "ConnectError")}
    assert len(lines) == 20


@contextmanager
def server_process() -> Iterator[subprocess.Popen[bytes]]:
    """A scripted server that can be killed, with its connections."""
    code = f"""
import time
from airflow_mlops.testing.gateway import scripted_server
with scripted_server({PORT}):
    time.sleep(120)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                    break
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_outage_is_seen_in_its_length_and_traffic_goes_on_after_it(generate):
    with server_process():
        generator = generate("--loop", rate=50)
        generator.wait_answers(20)
    began = time.time()
    time.sleep(1.0)
    with server_process():
        ended = time.time()
        time.sleep(1.0)
        generator.process.send_signal(signal.SIGTERM)
        assert generator.wait()[0] == 0
    answers = read_trace([generator.trace])
    outage = longest_outage(answers)
    assert outage is not None
    assert outage.seconds == pytest.approx(ended - began, abs=0.7)
    assert answers[-1].ok


def test_a_server_that_hangs_bounds_the_requests_under_way(server, generate):
    server.delay_seconds = 0.5
    generator = generate("--loop", "--seconds", "2", "--max-in-flight", "5", rate=100)
    status, _ = generator.wait()
    assert status == 0
    # Five at a time, half a second each, for two seconds: twenty, and what was under way at the end.
    assert 10 <= generator.answered() <= 30


def test_what_was_not_sent_is_reported_as_dropped_by_the_generator(server, generate):
    server.delay_seconds = 0.5
    generator = generate("--loop", "--seconds", "6", "--max-in-flight", "5", rate=100)
    _, output = generator.wait()
    report = next(line for line in output.splitlines() if "sent" in line)
    assert "dropped by the generator" in report
    dropped = int(report.split("dropped by the generator ")[1].split(",")[0])
    assert dropped > 200
    assert "answers [200: " in report


def test_a_request_that_takes_too_long_is_given_up(server, generate):
    server.delay_seconds = 3.0
    generator = generate("--limit", "2", "--timeout-seconds", "0.3")
    assert generator.wait()[0] == 0
    assert {line["error"] for line in read_lines([generator.trace]).documents} == {"ReadTimeout"}


def test_sigterm_ends_it_and_appends_the_labels_it_owes(server, generate):
    generator = generate("--loop", "--label-delay-seconds", "60", rate=100)
    generator.wait_answers(30)
    assert generator.labels() == []
    generator.process.send_signal(signal.SIGTERM)
    status, output = generator.wait()
    assert status == 0, output
    assert len(generator.labels()) == generator.answered()


def test_a_killed_generator_pays_its_labels_when_it_starts_again(server, generate):
    first = generate("--loop", "--label-delay-seconds", "60", rate=100)
    first.wait_answers(20)
    first.process.kill()
    first.process.communicate()
    asked = {line["id"] for line in read_lines([first.trace]).documents}
    assert first.labels() == []
    second = generate("--limit", "1")
    assert second.wait()[0] == 0
    assert {label["id"] for label in second.labels()} >= asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rate", "0"), "traffic: rate: 0.0 is not accepted; expected a number above 0"),
        (("--url", "http://127.0.0.1:8100"), "traffic: url: 'http://127.0.0.1:8100' is not accepted"),
        (("--requests", "/nowhere.jsonl"), "traffic: /nowhere.jsonl: the requests cannot be read"),
    ],
)
def test_wrong_arguments_end_it_with_a_message(generate, options, message):
    status, output = generate(*options).wait()
    assert status == 1
    assert message in output
    assert "Traceback" not in output


def test_what_it_sends_is_what_a_model_server_logs(model_python, small_model, tmp_path, generate):
    sample = read_sample(small_model[0])
    requests = tmp_path / "flights.jsonl"
    lines = [{"id": f"flight-{n}", "features": row, "label": 1} for n, row in enumerate(sample.rows)]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with model_server(model_python, *small_model, port=MODEL_PORT, home=tmp_path / "server") as running:
        generator = generate(rate=40, port=MODEL_PORT, requests=requests)
        assert generator.wait()[0] == 0
        logged = read_lines(sorted(running.predictions.rglob("*.jsonl"))).documents
    assert statuses(read_trace([generator.trace])) == {200: len(sample.rows)}
    assert {line["id"]: line["features"] for line in logged} == {line["id"]: line["features"] for line in lines}
    assert {label["id"] for label in generator.labels()} == {line["id"] for line in lines}


def test_a_label_that_cannot_be_written_ends_it_with_a_message(server, generate, tmp_path):
    (tmp_path / "labels.jsonl").mkdir()
    status, output = generate().wait()
    assert status == 1
    assert "Is a directory" in output
