"""What a job prints goes two ways."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import airflow_mlops
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.training.contract import JobRequest

ENVIRONMENT = {"PYTHONPATH": str(Path(airflow_mlops.__file__).parent.parent), "PATH": "/usr/bin:/bin"}


def launch(tmp_path, script, *options):
    job = JobDirectory(tmp_path / "job")
    lock = job.lock()
    job.prepare(JobRequest(kind="train", job_id="j", output_uri="file:///j"))
    os.close(lock)
    file = tmp_path / "script.py"
    file.write_text(textwrap.dedent(script))
    command = [
        sys.executable,
        "-m",
        "airflow_mlops.container.launch",
        "--directory",
        str(job.path),
        *options,
        str(file),
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    return job, done


def test_output_and_errors_are_printed_and_kept_in_order(tmp_path):
    script = """
        import subprocess, sys
        print("first")
        print("second", file=sys.stderr)
        subprocess.run(["echo", "third"])
        sys.stdout.write("no newline")
        sys.exit(4)
    """
    job, done = launch(tmp_path, script, "--keep-output")
    assert done.returncode == 4
    assert done.stdout == "first\nsecond\nthird\nno newline"
    assert job.log.read_text() == done.stdout
    assert job.exit_status().code == 4


def test_without_the_option_nothing_is_kept(tmp_path):
    job, done = launch(tmp_path, "print('hello')")
    assert done.stdout == "hello\n"
    assert not job.log.exists()


def test_a_process_that_is_left_behind_does_not_hold_up_the_end(tmp_path):
    script = """
        import subprocess
        subprocess.Popen(["sleep", "20"], stderr=subprocess.DEVNULL, close_fds=True)
        print("done")
    """
    started = time.monotonic()
    job, _ = launch(tmp_path, script, "--keep-output")
    assert time.monotonic() - started < 15
    assert job.log.read_text() == "done\n"


def test_much_output_arrives_whole(tmp_path):
    job, done = launch(tmp_path, "for number in range(200_000): print(number)", "--keep-output")
    assert done.stdout.splitlines()[-1] == "199999"
    assert job.log.read_text() == done.stdout
