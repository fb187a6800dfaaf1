"""One attempt in a container: started at most once, giving way to newer ones."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from airflow_mlops.adapters.pods.attempts import examine
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder, attempt_command
from airflow_mlops.training.attempts import Output
from airflow_mlops.training.contract import JobRequest

SCRIPT = """
from airflow_mlops.container import training_job
with training_job() as job:
    print("training")
    (job.output / "model").mkdir()
    (job.output / "model" / "weights.txt").write_text("1")
    job.finish(metrics={"loss": 0.5}, artifacts={"model": "model"})
"""


@pytest.fixture
def folder(tmp_path):
    return AttemptFolder(tmp_path / "job")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def request():
    return JobRequest(kind="train", job_id="d/r/t/-1", output_uri="file:///x")


def run(folder, name, script):
    command = attempt_command(sys.executable, str(folder.directory(name).path), str(script))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_an_attempt_leaves_a_result_that_verifies_and_its_log(folder, script):
    folder.prepare("01-a", request())
    assert examine(folder, "01-a").output is Output.OPEN
    done = run(folder, "01-a", script)
    assert (done.returncode, done.stdout) == (0, "training\n")
    found = examine(folder, "01-a")
    assert found.output is Output.VERIFIED
    assert found.result.metrics == {"loss": 0.5}
    assert folder.directory("01-a").log.read_text() == "training\n"


def test_an_attempt_runs_once_however_often_it_is_started(folder, script):
    folder.prepare("01-a", request())
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(done.returncode for done in pool.map(lambda _: run(folder, "01-a", script), range(4)))
    assert codes == [0, CLAIMED, CLAIMED, CLAIMED]
    assert folder.directory("01-a").log.read_text() == "training\n"


def test_an_older_attempt_gives_way_to_a_newer_one(folder, script):
    folder.prepare("01-a", request())
    folder.prepare("02-b", request())
    late = run(folder, "01-a", script)
    assert late.returncode == CLAIMED
    assert "attempt 02-b takes the place of this one" in late.stderr
    assert run(folder, "02-b", script).returncode == 0


def test_a_result_that_changed_afterwards_does_not_count(folder, script):
    folder.prepare("01-a", request())
    run(folder, "01-a", script)
    (folder.directory("01-a").path / "model" / "weights.txt").write_text("2")
    found = examine(folder, "01-a")
    assert found.output is Output.UNUSABLE
    assert "weights.txt: digest is" in str(found.problem)


def test_an_attempt_that_was_claimed_and_left_nothing_is_unusable(folder):
    folder.prepare("01-a", request())
    assert folder.claim("01-a", "somebody")
    assert not folder.claim("01-a", "somebody else")
    assert examine(folder, "01-a").output is Output.UNUSABLE


def test_workers_and_containers_share_the_folder_by_its_group(folder):
    group = folder.open()
    folder.prepare("01-a", request())
    for path in (folder.path, folder.checkpoints, folder.directory("01-a").path):
        assert path.stat().st_mode & 0o7777 == 0o2775
        assert path.stat().st_gid == group
    assert os.access(folder.directory("01-a").path / "request.json", os.R_OK)


def test_attempts_are_listed_in_the_order_of_their_names(folder):
    assert folder.names() == []
    for name in ("02-b", "01-a"):
        folder.prepare(name, request())
    assert folder.names() == ["01-a", "02-b"]
    assert folder.claims() == frozenset()
