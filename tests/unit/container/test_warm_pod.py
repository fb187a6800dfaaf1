"""What happens inside a warm pod, with real processes: a step runs once, and whoever looks on may come and go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.memory import killed_for_memory, memory_limit
from airflow_mlops.container.outcome import collect
from airflow_mlops.container.warm_pod import idle_command, run_command, running_command, stop_command
from airflow_mlops.training.contract import JobRequest
from airflow_mlops.training.warm import Remark, StepStream

STEP = """
    import sys, time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write("run\\n")
        print("begins", flush=True)
        time.sleep(job.parameters["seconds"])
        print("ends", end="")
        job.output.joinpath("out.txt").write_text("1")
        job.finish(metrics={}, artifacts={"out": "out.txt"})
"""


@pytest.fixture
def folder(tmp_path):
    return AttemptFolder(tmp_path / "job")


@pytest.fixture
def script(tmp_path):
    file = tmp_path / "step.py"
    file.write_text(textwrap.dedent(STEP))
    return str(file)


@pytest.fixture
def prepare(folder, tmp_path):
    (tmp_path / "runs").touch()

    def make(name="1", seconds=0.0, **parameters):
        given = {"runs": str(tmp_path / "runs"), "seconds": seconds, **parameters}
        folder.prepare(name, JobRequest(kind="train", job_id="j", output_uri="x", parameters=given))
        return folder.directory(name)

    return make


@pytest.fixture
def start():
    """Start a command; whatever still lives afterwards is killed."""
    started = []

    def run(command):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def looked_on(process):
    """Return a looker-on's exit code, what it was told and the log that it was shown."""
    log, errors = process.communicate(timeout=60)
    stream = StepStream()
    lines = [*stream.log(log), *stream.rest()]
    stream.errors(errors)
    return process.returncode, stream, lines


def run(directory, script, offset=0):
    return run_command(sys.executable, str(directory.path), script, offset)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_step_is_run_shown_and_verified(prepare, script, start, tmp_path):
    directory = prepare()
    code, stream, lines = looked_on(start(run(directory, script)))
    assert (code, lines) == (0, ["begins", "ends"])
    assert stream.remarks == [Remark(state="started"), Remark(state="ended", code=0)]
    assert collect(directory, running=False).artifacts == {"out": "out.txt"}
    assert (tmp_path / "runs").read_text() == "run\n"


def test_whoever_comes_later_is_shown_the_rest_and_starts_nothing(prepare, script, start, tmp_path):
    directory = prepare()
    looked_on(start(run(directory, script)))
    code, stream, lines = looked_on(start(run(directory, script, offset=len("begins\n"))))
    assert (code, lines) == (0, ["ends"])
    assert [one.state for one in stream.remarks] == ["found", "ended"]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_step_outlives_whoever_looks_on(prepare, script, start, tmp_path):
    directory = prepare(seconds=1.5)
    first = start(run(directory, script))
    wait_for((tmp_path / "runs").read_text)
    first.kill()
    first.wait()
    assert directory.is_running
    code, stream, lines = looked_on(start(run(directory, script)))
    assert (code, lines) == (0, ["begins", "ends"])
    assert [one.state for one in stream.remarks] == ["found", "ended"]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_many_at_a_time_run_a_step_once(prepare, script, start, tmp_path):
    directory = prepare(seconds=0.5)
    ends = [looked_on(one) for one in [start(run(directory, script)) for _ in range(4)]]
    assert [code for code, _, _ in ends] == [0] * 4
    assert all(lines == ["begins", "ends"] for _, _, lines in ends)
    assert sum(stream.remarks[0].state == "started" for _, stream, _ in ends) == 1
    assert (tmp_path / "runs").read_text() == "run\n"


def test_an_attempt_gives_way_to_a_newer_one(prepare, script, start, tmp_path):
    directory = prepare("1")
    prepare("2")
    code, stream, _ = looked_on(start(run(directory, script)))
    assert (code, stream.ended) == (CLAIMED, Remark(state="superseded", code=CLAIMED))
    assert (tmp_path / "runs").read_text() == ""


def test_the_exit_code_is_the_scripts(prepare, start, tmp_path):
    script = tmp_path / "bad.py"
    script.write_text("import sys; sys.exit(3)")
    code, stream, _ = looked_on(start(run(prepare(), str(script))))
    assert (code, stream.ended) == (3, Remark(state="ended", code=3))


def test_without_the_store_it_says_what_is_missing(folder, script, start):
    code, stream, _ = looked_on(start(run(folder.directory("1"), script)))
    assert code == 1
    assert stream.ended is None
    assert "the artefact store must be a volume of the pod, mounted at the same path" in stream.stray
    assert not folder.path.exists()


def test_running_names_what_lives_and_stop_ends_it(prepare, script, start, tmp_path):
    directory, done = prepare("2", seconds=60), prepare("1")
    looker = start(run(directory, script))
    wait_for((tmp_path / "runs").read_text)
    both = running_command(sys.executable, [str(done.path), str(directory.path)])
    assert start(both).communicate(timeout=60)[0] == b"2\n"
    assert start(stop_command(sys.executable, str(directory.path), 5)).wait(60) == 0
    code, stream, _ = looked_on(looker)
    assert stream.ended is not None
    assert code == stream.ended.code != 0
    assert start(both).communicate(timeout=60)[0] == b""


def test_what_was_stopped_before_it_began_never_begins(prepare, script, start, tmp_path):
    directory = prepare()
    assert start(stop_command(sys.executable, str(directory.path), 5)).wait(60) == 0
    code, stream, _ = looked_on(start(run(directory, script)))
    assert (code, stream.ended) == (1, Remark(state="ended"))
    assert (tmp_path / "runs").read_text() == ""


def test_idling_ends_when_it_is_asked_to_and_is_no_success(start):
    process = start(idle_command(sys.executable))
    assert process.stdout.readline() == b"waiting for steps\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM


COMMAND = "airflow_mlops.container.command"


def test_a_plain_command_is_a_job_whose_files_are_its_result(prepare, start):
    words = [sys.executable, "-c", "print('hello'); open('note.txt', 'w').write('7')"]
    directory = prepare(command=words)
    code, _, lines = looked_on(start(run(directory, COMMAND)))
    assert (code, lines) == (0, ["hello"])
    assert dict(collect(directory, running=False).summary) == {"exit_code": 0}
    assert (directory.path / "note.txt").read_text() == "7"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([sys.executable, "-c", "raise SystemExit(4)"], 4, "CommandError: the command ended with exit code 4"),
        (["/no/such/program"], 127, "CommandError: the command ended with exit code 127"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], 137, "the command ended with exit code 137"),
        ("ls -l", 1, "the parameter 'command' is 'ls -l', not a list of words"),
    ],
)
def test_a_command_that_fails_is_a_job_that_fails_with_its_code(prepare, start, words, code, said):
    directory = prepare(command=words)
    ended, stream, _ = looked_on(start(run(directory, COMMAND)))
    assert (ended, stream.ended) == (code, Remark(state="ended", code=code))
    assert said in directory.result().error


@pytest.mark.parametrize(
    ("files", "kills", "limit"),
    [
        ({"memory.events": "low 0\noom 3\noom_kill 2\n", "memory.max": "134217728\n"}, 2, 134217728),
        ({"memory.events": "low 0\noom_kill 0\n", "memory.max": "max\n"}, 0, None),
        (
            {
                "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
                "memory/memory.limit_in_bytes": "67108864\n",
            },
            1,
            67108864,
        ),
        ({}, 0, None),
    ],
)
def test_the_kernel_is_asked_about_memory(tmp_path, files, kills, limit):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert (killed_for_memory(tmp_path), memory_limit(tmp_path)) == (kills, limit)
