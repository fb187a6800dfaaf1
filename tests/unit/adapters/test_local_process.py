"""Jobs as processes of this machine: real processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import airflow_mlops
from airflow_mlops.adapters.jobs.local_process import LocalProcessRunner
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.exceptions import (
    ConflictError,
    ContractError,
    DigestMismatchError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.training.contract import JobRequest
from airflow_mlops.training.ports import JobPhase

ROOT = str(Path(airflow_mlops.__file__).parent.parent)
ENVIRONMENT = {"PYTHONPATH": ROOT}
GOOD = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["count"], "a") as count:
            count.write("run\\n")
        time.sleep(job.parameters.get("seconds", 0))
        (job.output / "model.txt").write_text("weights")
        print("trained", flush=True)
        job.finish(metrics={"auc": 0.7}, artifacts={"model": "model.txt"})
"""


@pytest.fixture
def runner():
    return LocalProcessRunner(Path(sys.executable))


@pytest.fixture
def script(tmp_path):
    def write(text=GOOD):
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(text))
        return str(file)

    return write


@pytest.fixture
def request_for(tmp_path):
    def make(**parameters):
        return JobRequest(
            kind="train",
            job_id="j",
            output_uri="file:///j",
            parameters={"count": str(tmp_path / "count"), **parameters},
        )

    return make


def runs(tmp_path):
    return len((tmp_path / "count").read_text().splitlines()) if (tmp_path / "count").exists() else 0


def wait(runner, job, seconds=20):
    deadline = time.monotonic() + seconds
    while runner.phase(job) is JobPhase.RUNNING:
        assert time.monotonic() < deadline, JobDirectory(job).log_tail()
        time.sleep(0.02)
    return runner.phase(job)


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_job_runs_and_its_result_is_collected(runner, script, request_for, tmp_path):
    runner.start(tmp_path / "job", request_for(), script(), ENVIRONMENT)
    assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    result = runner.collect(tmp_path / "job")
    assert (result.metrics, result.artifacts) == ({"auc": 0.7}, {"model": "model.txt"})
    assert "trained" in JobDirectory(tmp_path / "job").log_tail()


def test_job_that_succeeded_is_not_run_again(runner, script, request_for, tmp_path):
    for _ in range(3):
        runner.start(tmp_path / "job", request_for(), script(), ENVIRONMENT)
        assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    assert runs(tmp_path) == 1


def test_another_request_runs_anew(runner, script, request_for, tmp_path):
    for seed in (1, 2):
        runner.start(tmp_path / "job", request_for(seed=seed), script(), ENVIRONMENT)
        assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    assert runs(tmp_path) == 2


def test_starting_a_running_job_joins_it(runner, script, request_for, tmp_path):
    request = request_for(seconds=1)
    runner.start(tmp_path / "job", request, script(), ENVIRONMENT)
    LocalProcessRunner(Path(sys.executable)).start(tmp_path / "job", request, script(), ENVIRONMENT)
    assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    assert runs(tmp_path) == 1


def test_running_job_with_another_request_is_a_conflict(runner, script, request_for, tmp_path):
    runner.start(tmp_path / "job", request_for(seconds=5), script(), ENVIRONMENT)
    wait_until(lambda: runs(tmp_path) == 1)
    with pytest.raises(ConflictError, match="a job with another request is running here"):
        runner.start(tmp_path / "job", request_for(seconds=6), script(), ENVIRONMENT)
    assert runner.stop(tmp_path / "job")


def test_many_starters_at_once_give_one_training(runner, script, request_for, tmp_path):
    entry, request, errors = script(), request_for(seconds=0.5), []

    def start():
        try:
            LocalProcessRunner(Path(sys.executable)).start(tmp_path / "job", request, entry, ENVIRONMENT)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    assert runs(tmp_path) == 1


def test_job_survives_the_death_of_its_starter_and_is_joined(runner, script, request_for, tmp_path):
    """The starter is a process of its own, killed without warning while the job runs."""
    entry, request = script(), request_for(seconds=1.5)
    starter = _starter(tmp_path, entry, seconds=1.5)
    wait_until(lambda: runs(tmp_path) == 1)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert runner.phase(tmp_path / "job") is JobPhase.RUNNING
    runner.start(tmp_path / "job", request, entry, ENVIRONMENT)
    assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    assert runner.collect(tmp_path / "job").metrics == {"auc": 0.7}
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_starter_killed_at_any_point_leaves_at_most_one_training(runner, script, request_for, tmp_path, delay):
    entry, request = script(), request_for(seconds=0.6)
    starter = _starter(tmp_path, entry, seconds=0.6)
    wait_until((tmp_path / "job").exists)
    time.sleep(delay)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    runner.start(tmp_path / "job", request, entry, ENVIRONMENT)
    assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    assert runner.collect(tmp_path / "job").artifacts == {"model": "model.txt"}
    assert runs(tmp_path) == 1


def test_killed_job_is_made_again_with_its_log_kept(runner, script, request_for, tmp_path):
    directory, entry, request = JobDirectory(tmp_path / "job"), script(), request_for(seconds=0.5)
    runner.start(directory.path, request, entry, ENVIRONMENT)
    wait_until(lambda: runs(tmp_path) == 1 and directory.attempt().script is not None)
    os.killpg(directory.attempt().launcher.pid, signal.SIGKILL)
    assert wait(runner, directory.path) is JobPhase.LOST
    with pytest.raises(TransientAdapterError, match="the job's processes are gone without a result"):
        runner.collect(directory.path)
    directory.log.write_text("of the first attempt\n")
    runner.start(directory.path, request, entry, ENVIRONMENT)
    assert wait(runner, directory.path) is JobPhase.SUCCEEDED
    assert runs(tmp_path) == 2
    assert directory.log.read_text() == "of the first attempt\ntrained\n"


def test_job_whose_launcher_was_killed_still_counts_as_running_and_finishes(runner, script, request_for, tmp_path):
    directory = JobDirectory(tmp_path / "job")
    runner.start(directory.path, request_for(seconds=1), script(), ENVIRONMENT)
    wait_until(lambda: runs(tmp_path) == 1 and directory.attempt().script is not None)
    os.kill(directory.attempt().launcher.pid, signal.SIGKILL)
    assert runner.phase(directory.path) is JobPhase.RUNNING
    assert wait(runner, directory.path) is JobPhase.SUCCEEDED
    assert runner.collect(directory.path).metrics == {"auc": 0.7}


def test_stop_ends_the_job_and_nothing_else(runner, script, request_for, tmp_path):
    runner.start(tmp_path / "job", request_for(seconds=30), script(), ENVIRONMENT)
    wait_until(lambda: runs(tmp_path) == 1)
    assert runner.stop(tmp_path / "job")
    assert runner.phase(tmp_path / "job") is JobPhase.FAILED
    assert not runner.stop(tmp_path / "job")


def test_stop_kills_a_script_that_ignores_the_request_to_end(script, request_for, tmp_path):
    runner = LocalProcessRunner(Path(sys.executable), stop_grace_seconds=0.3)
    ignoring = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + textwrap.dedent(GOOD)
    runner.start(tmp_path / "job", request_for(seconds=30), script(ignoring), ENVIRONMENT)
    wait_until(lambda: runs(tmp_path) == 1)
    assert runner.stop(tmp_path / "job")
    assert runner.phase(tmp_path / "job") is not JobPhase.RUNNING


def test_stop_leaves_a_process_alone_that_only_has_the_number(runner, script, request_for, tmp_path):
    """After a restart of the machine, the recorded number may be somebody else's."""
    directory = JobDirectory(tmp_path / "job")
    runner.start(directory.path, request_for(seconds=3), script(), ENVIRONMENT)
    wait_until(lambda: runs(tmp_path) == 1 and directory.attempt().script is not None)
    true = directory.attempt()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as other:
        stranger = type(true.launcher)(pid=other.pid, started="1")
        directory.record_attempt(type(true)(launcher=stranger, script=stranger, started_at=0.0, log_offset=0))
        assert not runner.stop(directory.path)
        assert other.poll() is None
        other.kill()
    directory.record_attempt(true)
    assert runner.stop(directory.path)


def test_environment_of_the_worker_stays_with_the_worker(runner, script, request_for, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "postgres://user:password@host/db")
    text = """
        import os
        from airflow_mlops.container import training_job
        with training_job() as job:
            job.finish(metrics={}, summary={"names": sorted(os.environ)})
    """
    runner.start(tmp_path / "job", request_for(), script(text), {**ENVIRONMENT, "MINE": "1"})
    assert wait(runner, tmp_path / "job") is JobPhase.SUCCEEDED
    names = runner.collect(tmp_path / "job").summary["names"]
    assert "MINE" in names
    assert "AIRFLOW_CONN_SECRET" not in names


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "import sys\nprint('about to fail')\nsys.exit(3)",
            PermanentAdapterError,
            r"exit code 3; (?s:.*)about to fail",
        ),
        (
            "import os\nos.kill(os.getpid(), 9)",
            TransientAdapterError,
            r"signal 9 \(SIGKILL\); possibly .* out of memory",
        ),
        ("print('nothing')", ContractError, r"exit code 0 but left no result\.json; it must call job\.finish\(\)"),
        ("open('result.json', 'w').write('oops')", ContractError, r"result\.json is not JSON .* begins with 'oops'"),
        (
            "open('result.json', 'w').write('{\"contract_version\": 9}')",
            ContractError,
            r"has contract_version 9; this side understands 1",
        ),
        (
            'open("result.json", "w").write(\'{"contract_version":1,"job_id":"j","status":"succeeded","metrcs":{}}\')',
            ContractError,
            r"JobResult\.metrcs: .* did you mean 'metrics'",
        ),
        (
            'open("result.json", "w").write(\'{"contract_version":1,"job_id":"other","status":"succeeded"}\')',
            ContractError,
            r"is of job 'other', but 'j' was asked for",
        ),
        (
            'open("result.json", "w").write(\'{"contract_version":1,"job_id":"j","status":"succeeded"}\')',
            ContractError,
            r"left no manifest\.json",
        ),
        (
            "from airflow_mlops.container import training_job\nwith training_job():\n    raise ValueError('bad row')",
            PermanentAdapterError,
            r"the script failed: ValueError: bad row",
        ),
    ],
)
def test_every_bad_end_is_explained(runner, script, request_for, tmp_path, text, error, message):
    runner.start(tmp_path / "job", request_for(), script(text), ENVIRONMENT)
    assert wait(runner, tmp_path / "job") is JobPhase.FAILED
    with pytest.raises(error, match=message):
        runner.collect(tmp_path / "job")


def test_only_the_last_lines_of_a_long_log_are_shown(runner, script, request_for, tmp_path):
    runner.start(
        tmp_path / "job", request_for(), script("print(*range(500), sep='\\n')\nraise SystemExit(1)"), ENVIRONMENT
    )
    wait(runner, tmp_path / "job")
    with pytest.raises(PermanentAdapterError) as caught:
        runner.collect(tmp_path / "job")
    assert str(caught.value).splitlines()[1:] == [str(number) for number in range(480, 500)]


@pytest.mark.parametrize(
    ("tamper", "error", "message"),
    [
        (
            lambda job: (job / "model.txt").write_text("other"),
            DigestMismatchError,
            r"model\.txt: digest is sha256:.* changed",
        ),
        (
            lambda job: (job / "model.txt").unlink(),
            ContractError,
            r"model\.txt is listed in manifest\.json but is not there",
        ),
        (
            lambda job: (job / "extra").write_text("x"),
            ContractError,
            r"extra appeared after manifest\.json was written",
        ),
        (lambda job: (job / "manifest.json").write_text("?"), ContractError, r"manifest\.json cannot be read"),
    ],
)
def test_tampered_output_is_noticed_and_made_again(runner, script, request_for, tmp_path, tamper, error, message):
    job = tmp_path / "job"
    runner.start(job, request_for(), script(), ENVIRONMENT)
    wait(runner, job)
    tamper(job)
    with pytest.raises(error, match=message):
        runner.collect(job)
    runner.start(job, request_for(), script(), ENVIRONMENT)
    assert wait(runner, job) is JobPhase.SUCCEEDED
    assert runner.collect(job).metrics == {"auc": 0.7}
    assert "an earlier result does not verify" in JobDirectory(job).log_tail()


def test_missing_script_is_named(runner, request_for, tmp_path):
    with pytest.raises(SpecificationError, match=r"entrypoint: '/nowhere/train\.py' .* a Python file that exists"):
        runner.start(tmp_path / "job", request_for(), "/nowhere/train.py", {})


def test_missing_interpreter_is_named(script, request_for, tmp_path):
    with pytest.raises(SpecificationError, match=r"python: '/nowhere/python' .* interpreter that exists"):
        LocalProcessRunner(Path("/nowhere/python")).start(tmp_path / "job", request_for(), script(), {})


def _starter(tmp_path, entry, **parameters):
    code = f"""
import sys, time
from pathlib import Path
from airflow_mlops.adapters.jobs.local_process import LocalProcessRunner
from airflow_mlops.training.contract import JobRequest
parameters = {{"count": {str(tmp_path / "count")!r}, **{parameters!r}}}
request = JobRequest(kind="train", job_id="j", output_uri="file:///j", parameters=parameters)
LocalProcessRunner(Path(sys.executable)).start(Path({str(tmp_path / "job")!r}), request, {entry!r}, {ENVIRONMENT!r})
time.sleep(60)
"""
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **ENVIRONMENT})
