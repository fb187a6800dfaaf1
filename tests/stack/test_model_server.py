"""The model server as a real process, with a small model saved by MLflow."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx  # noqa: TID253 - a test of HTTP answers
import pytest

from airflow_mlops.container.inference import build_request, read_probabilities
from airflow_mlops.container.lines import read_lines
from airflow_mlops.container.smoke import Sample, read_sample
from airflow_mlops.manifest import manifest_of
from airflow_mlops.testing.model_server import RunningServer, model_server, start_model_server

pytestmark = pytest.mark.stack

PORT, OTHER_PORT = 23010, 23011


@pytest.fixture(scope="module")
def sample(small_model: tuple[Path, str]) -> Sample:
    return read_sample(small_model[0])


@pytest.fixture(scope="module")
def server(model_python: Path, small_model: tuple[Path, str], tmp_path_factory) -> Iterator[RunningServer]:
    home = tmp_path_factory.mktemp("server")
    with model_server(model_python, *small_model, port=PORT, home=home, version="3") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=10) as made:
        yield made


def infer(client: httpx.Client, body: Any) -> httpx.Response:
    return client.post("/v2/models/flights/infer", json=body)


def changed(sample: Sample, **changes: dict[str, Any]) -> dict[str, Any]:
    """A good request for the first row, in which parts of some tensors are replaced."""
    body = build_request(sample.rows[:1], "changed")
    for tensor in body["inputs"]:
        tensor.update(changes.get(tensor["name"], {}))
    return body


def logged(server: RunningServer) -> list[dict[str, Any]]:
    return list(read_lines(sorted(server.predictions.rglob("*.jsonl"))).documents)


def test_it_answers_as_the_model_did_offline(client, sample):
    response = infer(client, build_request(sample.rows, "all"))
    assert response.status_code == 200
    served = read_probabilities(response.json(), len(sample.rows))
    assert served == pytest.approx(sample.predictions, abs=1e-12)
    assert response.json()["parameters"] == {"version": "3", "server": "flights-v3"}
    assert (response.json()["model_name"], response.json()["model_version"]) == ("flights", "3")


def test_requests_that_are_scored_together_get_their_own_answers(server, sample):
    answers: dict[int, float] = {}

    def ask(row: int) -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=20) as client:
            for _ in range(3):
                response = infer(client, build_request([sample.rows[row]], f"together-{row}"))
                answers[row] = read_probabilities(response.json(), 1)[0]

    workers = [threading.Thread(target=ask, args=(row,)) for row in range(len(sample.rows))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [answers[row] for row in range(len(sample.rows))] == pytest.approx(sample.predictions, abs=1e-12)


def test_every_row_is_logged_with_what_was_asked(client, server, sample):
    infer(client, build_request(sample.rows[:1], "2013-03-14-UA-1545-EWR-0515"))
    infer(client, build_request(sample.rows[:3], "three"))
    lines = {line["id"]: line for line in logged(server)}
    line = lines["2013-03-14-UA-1545-EWR-0515"]
    assert line["features"] == sample.rows[0]
    assert line["prediction"] == pytest.approx(sample.predictions[0], abs=1e-12)
    assert (line["model"], line["version"]) == ("flights", "3")
    assert abs(line["time"] - time.time()) < 60
    assert 0 < line["latency_ms"] < 5000
    assert {"three/0", "three/1", "three/2"} <= lines.keys()


def test_a_request_without_an_id_is_logged_under_the_one_in_the_answer(client, server, sample):
    answer = infer(client, build_request(sample.rows[:1])).json()
    assert answer["id"] in {line["id"] for line in logged(server)}


def test_null_is_a_missing_value(client, sample):
    body = changed(sample, temp={"data": [None]}, carrier={"data": [None]})
    assert infer(client, body).status_code == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"temp": {"name": "tmp"}},
            "inputs.tmp: 'tmp' is not accepted; expected a feature of this model; did you mean",
        ),
        ({"temp": {"shape": [2]}}, "inputs.temp.data: '1 values' is not accepted; expected 2 values"),
        ({"temp": {"shape": [2], "data": [1.0, 2.0]}}, "all tensors are equally long"),
        ({"carrier": {"datatype": "FP64"}}, "expected BYTES for the string feature 'carrier'"),
        ({"temp": {"data": ["x"]}}, "inputs.temp.data[0]: 'x' is not accepted; expected a finite number, or null"),
        ({"temp": {"datatype": "FP16"}}, "FP16"),
    ],
)
def test_a_wrong_request_is_answered_400_and_told_what_is_accepted(client, sample, changes, message):
    response = infer(client, changed(sample, **changes))
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_missing_feature_is_named(client, sample):
    body = build_request(sample.rows[:1])
    body["inputs"] = [tensor for tensor in body["inputs"] if tensor["name"] != "origin"]
    response = infer(client, body)
    assert response.status_code == 400
    assert "one tensor per feature; missing: origin (send null for a missing value)" in response.json()["error"]


@pytest.mark.parametrize("body", [{}, [], {"inputs": "none"}, {"inputs": [{"name": "temp"}]}])
def test_what_is_no_inference_request_is_answered_400(client, body):
    response = infer(client, body)
    assert response.status_code == 400
    assert 'expected {"inputs": [{"name", "shape", "datatype", "data"}, …]} as JSON' in response.json()["error"]


def test_what_is_not_json_is_answered_400(client):
    response = client.post(
        "/v2/models/flights/infer", content=b"{nonsense", headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert "JSON" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v2/models/other/infer", 404, "other does not exist"),
        ("/v1/models/flights:predict", 400, "expected the Open Inference Protocol v2"),
        ("/v2/repository/models/flights/unload", 400, "this server serves one version"),
        ("/v2/repository/models/flights/load", 400, "this server serves one version"),
    ],
)
def test_other_doors_are_closed(client, sample, path, status, message):
    response = client.post(path, json=build_request(sample.rows[:1]))
    assert response.status_code == status
    assert message in response.json()["error"]
    assert client.get("/v2/models/flights/ready").json() == {"name": "flights", "ready": True}


def test_metadata_name_every_feature(client, sample):
    document = client.get("/v2/models/flights").json()
    assert {tensor["name"] for tensor in document["inputs"]} == set(sample.rows[0])
    assert document["outputs"] == [{"name": "probability", "datatype": "FP64", "shape": [-1]}]


def test_metrics_count_predictions_and_errors_of_this_version(client, sample):
    def read(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    predictions = 'mlops_model_predictions_total{model="flights",version="3"}'
    errors = 'mlops_model_errors_total{kind="bad_request",model="flights",version="3"}'
    before = read(predictions), read(errors)
    infer(client, build_request(sample.rows[:5]))
    infer(client, changed(sample, temp={"data": ["x"]}))
    assert (read(predictions), read(errors)) == (before[0] + 5, before[1] + 1)
    assert read('mlops_model_request_seconds_count{model="flights",version="3"}') >= 2


def test_its_log_holds_one_line_however_many_requests_came(client, server, sample):
    for _ in range(20):
        infer(client, build_request(sample.rows[:1]))
        infer(client, {})
    (line,) = server.log.read_text().splitlines()
    assert "flights-v3: model flights version 3, 6 features, sha256:" in line


def test_it_listens_on_the_loopback_interface_only_and_on_one_port(server):
    listening = {
        tuple(line.split()[1].split(":"))
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{server.process.pid}/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    assert ("0100007F", f"{PORT:04X}") in listening
    assert ("00000000", f"{PORT:04X}") not in listening


def test_a_model_that_changed_is_not_loaded(model_python, small_model, tmp_path):
    model = shutil.copytree(small_model[0], tmp_path / "model")
    (model / "model.skops").write_bytes(b"not what was trained")
    running = start_model_server(model_python, model, small_model[1], port=OTHER_PORT, home=tmp_path)
    assert running.process.wait(30) == 1
    text = running.log.read_text()
    assert f"digest is {manifest_of(model).digest}, but {small_model[1]} was expected; the content changed" in text
    assert "Traceback" not in text


def test_a_model_that_is_not_there_says_so(model_python, small_model, tmp_path):
    running = start_model_server(model_python, tmp_path / "none", small_model[1], port=OTHER_PORT, home=tmp_path)
    assert running.process.wait(30) == 1
    assert "there is no file or directory here" in running.log.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fault-error-rate", "2"), "fault-error-rate: 2.0 is not accepted; expected a number from 0 to 1"),
        (("--fault-delay-ms", "-1"), "fault-delay-ms: -1 is not accepted"),
        (("--port", "80000"), "port: 80000 is not accepted; expected a TCP port"),
    ],
)
def test_wrong_options_end_it_with_a_message(model_python, small_model, tmp_path, options, message):
    running = start_model_server(model_python, *small_model, port=OTHER_PORT, home=tmp_path, options=options)
    assert running.process.wait(30) == 1
    assert message in running.log.read_text()


def test_a_taken_port_ends_it_with_a_message(model_python, small_model, tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", OTHER_PORT))
        taken.listen()
        running = start_model_server(model_python, *small_model, port=OTHER_PORT, home=tmp_path)
        assert running.process.wait(60) != 0
    text = running.log.read_text()
    assert (
        f"port: {OTHER_PORT} is not accepted; expected one that is free on 127.0.0.1 (Address already in use)" in text
    )


def test_fire_drills_fail_the_chosen_share_and_say_so(model_python, small_model, tmp_path, sample):
    options = ("--fault-error-rate", "0.3", "--fault-delay-ms", "30", "--fault-seed", "1")
    with (
        model_server(model_python, *small_model, port=OTHER_PORT, home=tmp_path, options=options) as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        answers = [infer(client, build_request(sample.rows[:1], f"f{n}")) for n in range(60)]
        failed = [answer for answer in answers if answer.status_code == 500]
        assert 8 <= len(failed) <= 30
        assert failed[0].json() == {"error": "flights-v1: this error is a fire drill"}
        assert all(answer.elapsed.total_seconds() >= 0.03 for answer in answers)
        assert len(logged(running)) == 60 - len(failed)
        text = running.log.read_text()
    assert "FIRE DRILL: 30.0 % of requests fail, every answer waits 30 ms, seed 1" in text
    assert len(text.splitlines()) == 2


def test_sigterm_ends_it_after_the_requests_under_way(model_python, small_model, tmp_path, sample):
    options = ("--fault-delay-ms", "700")
    with model_server(model_python, *small_model, port=OTHER_PORT, home=tmp_path, options=options) as running:
        answers: list[httpx.Response] = []

        def ask() -> None:
            with httpx.Client(base_url=running.url, trust_env=False) as client:
                answers.append(infer(client, build_request(sample.rows[:1], "last")))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.3)
        status = running.stop(signal.SIGTERM)
        asking.join()
        assert [answer.status_code for answer in answers] == [200]
        assert [line["id"] for line in logged(running)] == ["last"]
        assert status in (0, -signal.SIGTERM)


def test_a_kill_under_load_leaves_whole_lines_of_all_that_was_answered(model_python, small_model, tmp_path, sample):
    with model_server(model_python, *small_model, port=OTHER_PORT, home=tmp_path) as running:
        answered: list[str] = []

        def ask(worker: int) -> None:
            with httpx.Client(base_url=running.url, trust_env=False, timeout=5) as client:
                for n in range(10_000):
                    try:
                        response = infer(client, build_request(sample.rows[:1], f"{worker}-{n}"))
                    except httpx.HTTPError:
                        return
                    if response.status_code == 200:
                        answered.append(f"{worker}-{n}")

        workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(3)]
        for worker in workers:
            worker.start()
        deadline = time.monotonic() + 60
        while len(answered) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        for worker in workers:
            worker.join()
    (path,) = running.predictions.rglob("*.jsonl")
    found = read_lines([path])
    assert found.torn <= 1
    assert set(answered) <= {line["id"] for line in found.documents}
    assert len(answered) >= 20


def test_a_full_log_is_counted_and_warned_about_while_answers_go_on(model_python, small_model, tmp_path, sample):
    script = tmp_path / "limited.py"
    # The limit on file sizes plays the full disk; it is set after the start, for this process's files only.
    script.write_text(
        "import resource, runpy, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, '')\n"
        "runpy.run_module('airflow_mlops.container.server', run_name='__main__')\n"
    )
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nshift 2\nexec {model_python} {script} server "$@"\n')
    wrapper.chmod(0o755)
    with (
        model_server(wrapper, *small_model, port=OTHER_PORT, home=tmp_path) as running,
        httpx.Client(base_url=running.url, trust_env=False) as client,
    ):
        answers = [infer(client, build_request(sample.rows[:1], f"f{n}")) for n in range(20)]
        metrics = client.get("/metrics").text
    assert [answer.status_code for answer in answers] == [200] * 20
    kept = len(logged(running))
    assert 1 <= kept < 20
    assert f'mlops_model_errors_total{{kind="prediction_log",model="flights",version="1"}} {20 - kept}.0' in metrics
    warnings = [line for line in running.log.read_text().splitlines() if "answered but not logged" in line]
    assert len(warnings) == 1


def test_the_sample_can_be_read_as_json(small_model):
    sample = json.loads((small_model[0] / "smoke.json").read_text())
    assert len(sample["predictions"]) > 0
