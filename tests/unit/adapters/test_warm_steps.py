"""Steps followed over connections that break: real processes of this machine stand for those of a pod."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest

from airflow_mlops.adapters.pods.exec import ExecEnd
from airflow_mlops.adapters.pods.steps import WarmSteps
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.attempts import Action, enter
from airflow_mlops.training.contract import JobRequest
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.warm import WarmPodRef

RUNNING = PodReport(phase=PodPhase.RUNNING)
GONE = PodReport(phase=PodPhase.ABSENT, trouble=Trouble(cause=Cause.GONE, message="the pod is gone"))
REF = WarmPodRef(
    namespace="ml", name="warm", uid="u", container="base", python=sys.executable, setup="warm.start_warm_pod"
)
STEP = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write("run\\n")
        for number in range(20):
            print(f"line {number}", flush=True)
            time.sleep(job.parameters["seconds"] / 20)
        job.output.joinpath("out.txt").write_text("1")
        job.finish(metrics={}, artifacts={"out": "out.txt"})
"""


class Connections:
    """Runs commands here. Each of ``cuts`` breaks one connection of a step after so many bytes of its log."""

    def __init__(self, cuts=()):
        self.cuts = list(cuts)

    def run(self, pod, container, command, *, output, errors, silence_seconds):
        assert (pod, container, silence_seconds > 5) == ("warm", "base", True)
        cut = self.cuts.pop(0) if "run" in command and self.cuts else None
        if isinstance(cut, ExecEnd):
            return cut
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            listener = threading.Thread(target=lambda: [errors(piece) for piece in iter(process.stderr.readline, b"")])
            listener.start()
            left = cut
            while left is None or left > 0:
                piece = process.stdout.read1(7 if left is None else min(7, left))
                if not piece:
                    break
                left = None if left is None else left - len(piece)
                output(piece)
            if cut is not None:
                process.kill()
            listener.join()
            code = process.wait()
        return ExecEnd(code=None if cut is not None else code)


class Pods:
    def __init__(self, *reports):
        self.reports = list(reports)

    def report(self, ref):
        assert ref == REF
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("airflow_mlops.adapters.pods.steps._PAUSE_SECONDS", 0.01)


@pytest.fixture
def steps(tmp_path):
    script = tmp_path / "step.py"
    script.write_text(textwrap.dedent(STEP))
    (tmp_path / "runs").touch()

    def make(connections=None, pods=None, seconds=0.5, **changes):
        parameters = {"runs": str(tmp_path / "runs"), "seconds": seconds}
        return WarmSteps(
            pods=pods or Pods(RUNNING),
            commands=connections or Connections(),
            ref=REF,
            folder=AttemptFolder(tmp_path / "job"),
            entrypoint=str(script),
            request=lambda _: JobRequest(kind="train", job_id="j", output_uri="x", parameters=parameters),
            **changes,
        )

    return make


@pytest.fixture
def runs(tmp_path):
    return lambda: (tmp_path / "runs").read_text().splitlines()


ALL = [f"line {number}" for number in range(20)]


@pytest.mark.parametrize("cuts", [[], [0], [5], [30, 1, 0, 50], [0, 0, 0]], ids=str)
def test_every_line_is_shown_once_however_often_the_connection_breaks(steps, runs, cuts):
    world, lines = steps(Connections(cuts)), []
    decision = enter(world, "1")
    assert decision.action is Action.FOLLOW
    end = world.follow("1", lines.append)
    assert lines == ALL
    assert world.conclude("1", end).artifacts == {"out": "out.txt"}
    assert runs() == ["run"]


def test_the_next_try_follows_the_process_of_the_one_before(steps, runs):
    first, lines = steps(Connections([5]), Pods(GONE), seconds=3), []
    enter(first, "1")
    first.follow("1", lines.append)  # the worker believes what it is told of the pod, and dies
    second = steps()
    decision = enter(second, "2")
    assert (decision.action, decision.attempt) == (Action.FOLLOW, "1")
    lines.clear()
    assert second.conclude("1", second.follow("1", lines.append)).artifacts
    assert lines == ALL
    assert runs() == ["run"]


def test_a_step_that_has_succeeded_is_not_repeated_even_if_the_pod_is_gone(steps, runs):
    world = steps(seconds=0)
    enter(world, "1")
    world.follow("1", lambda _: None)
    later = steps(pods=Pods(GONE))
    decision = enter(later, "2")
    assert (decision.action, decision.attempt) == (Action.FINISH, "1")
    assert runs() == ["run"]


def test_a_pod_that_is_gone_says_which_task_brings_it_back(steps, runs):
    nothing = ExecEnd(code=None, problem='Handshake status 404 Not Found; pods "warm" not found')
    world = steps(Connections([nothing]), Pods(GONE))
    enter(world, "1")
    end = world.follow("1", lambda _: None)
    with pytest.raises(PermanentAdapterError, match=r"the pod is gone\nSteps share the pod that task 'warm\.start_w"):
        world.conclude("1", end)
    assert runs() == []


@pytest.mark.parametrize(
    ("end", "kind", "said"),
    [
        (ExecEnd(code=None), TransientAdapterError, "it runs, but cannot be reached: the connection breaks"),
        (ExecEnd(code=None, problem="500 timeout"), TransientAdapterError, "cannot be reached: 500 timeout"),
        (ExecEnd(code=1), PermanentAdapterError, r"a step cannot be run in it \(exit code 1\)"),
        (
            ExecEnd(code=None, problem='exec: "python": executable file not found in $PATH'),
            PermanentAdapterError,
            r"a step cannot be run in it \(no exit code\): exec: \"python\": executable file not found",
        ),
    ],
)
def test_a_pod_that_runs_and_takes_no_step_is_given_up(steps, end, kind, said):
    world = steps(Connections([end] * 50))
    enter(world, "1")
    with pytest.raises(kind, match=said):
        world.follow("1", lambda _: None)


def test_a_pod_that_ends_is_waited_for(steps):
    ending = PodReport(phase=PodPhase.RUNNING, ending=True)
    world = steps(Connections([ExecEnd(code=None)] * 20), Pods(*[ending] * 10, GONE))
    enter(world, "1")
    assert world.follow("1", lambda _: None).pod == GONE


def test_a_stopped_step_is_no_success_and_says_how_it_ended(steps, runs):
    world, lines = steps(seconds=60), []
    enter(world, "1")
    stopper = threading.Timer(2, world.stop, args=("1", 5.0))
    stopper.start()
    end = world.follow("1", lines.append)
    stopper.join()
    with pytest.raises((TransientAdapterError, ContractError)):
        world.conclude("1", end)
    assert len(runs()) <= 1


def test_the_memory_that_ran_out_is_named(steps):
    world = steps(seconds=0)
    enter(world, "1")
    world.folder.claim("1", "somebody")
    directory = world.folder.directory("1")
    directory.log.write_text("loading\n")
    directory.write("container.json", '{"out_of_memory": true, "memory_bytes": 134217728}')
    end = world.follow("1", lambda _: None)
    with pytest.raises(
        PermanentAdapterError, match=r"the pod's memory of 128 MiB ran out; raise pod_resources\.memory"
    ):
        world.conclude("1", end)
