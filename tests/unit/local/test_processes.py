from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_mlops.codec import encode
from airflow_mlops.files import atomic_write_json
from airflow_mlops.local import processes
from airflow_mlops.local.exits import describe, exit_code
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.processes import HOME_VARIABLE, ProcessRecord

psutil = pytest.importorskip("psutil")

# A service that leaves a worker in a group of its own and a training in a session of its own.
FAMILY = """
import os, subprocess, sys, time
nap = [sys.executable, "-c", "import time; time.sleep(600)"]
subprocess.Popen(nap, process_group=0)
subprocess.Popen(nap, start_new_session=True)
print("born", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[LocalHome]:
    home = LocalHome(tmp_path / "home")
    home.create()
    yield home
    assert processes.stop_all(home, grace_seconds=5, with_jobs=True) == []
    reap()


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def spawn(home: LocalHome, code: str, name: str = "service") -> ProcessRecord:
    with (home.logs / f"{name}.log").open("ab") as log:
        return processes.spawn(
            home, name, [sys.executable, "-c", code], environment=dict(os.environ), log=log, cwd=home.run
        )


def wait_for(condition: object, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def born(home: LocalHome, name: str = "service") -> bool:
    return "born" in (home.logs / f"{name}.log").read_text()


def test_a_process_is_recorded_and_leads_its_own_session(home: LocalHome) -> None:
    record = spawn(home, "import time; time.sleep(600)")
    assert processes.records(home) == (record,)
    assert processes.is_running(record)
    assert os.getsid(record.pid) == record.pid
    assert processes.leftovers(home) == [record.pid]


def test_the_service_gets_command_environment_and_folder(home: LocalHome) -> None:
    record = spawn(home, f"import os; print(os.getcwd(), os.environ[{HOME_VARIABLE!r}], os.getpid())")
    wait_for(lambda: exit_code(record.pid) is not None)
    assert (home.logs / "service.log").read_text().split() == [str(home.run), str(home.root), str(record.pid)]
    assert exit_code(record.pid) == 0


def test_a_missing_program_is_named(home: LocalHome) -> None:
    with (
        (home.logs / "x.log").open("ab") as log,
        pytest.raises(FileNotFoundError, match="envoy: the program '/no/such'"),
    ):
        processes.spawn(home, "envoy", ["/no/such"], environment={}, log=log, cwd=home.run)
    assert processes.records(home) == ()


def test_a_process_whose_starter_dies_before_recording_it_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    starter = subprocess.Popen(
        ["/bin/sh", "-c", processes._GATE, "name", sys.executable, "-c", f"open({str(marker)!r}, 'w')"],
        stdin=subprocess.PIPE,
    )
    assert starter.stdin is not None
    starter.stdin.close()
    assert starter.wait(10) != 0
    assert not marker.exists()


def test_the_session_is_killed_with_its_groups_but_trainings_survive(home: LocalHome) -> None:
    record = spawn(home, FAMILY)
    wait_for(lambda: born(home))
    children = psutil.Process(record.pid).children()
    assert len(children) == 2
    training = next(child for child in children if os.getsid(child.pid) == child.pid)
    worker = next(child for child in children if child != training)
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: exit_code(record.pid) is not None)
    wait_for(lambda: not processes.kill_session(record.pid))
    os.waitpid(record.pid, 0)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    assert training.is_running()
    assert processes.leftovers(home) == []
    assert processes.leftovers(home, with_jobs=True) == [training.pid]


def test_what_a_killed_leader_left_is_found_by_whoever_comes_later(home: LocalHome) -> None:
    record = spawn(home, FAMILY)
    wait_for(lambda: born(home))
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    left = processes.leftovers(home)
    assert len(left) == 1
    assert processes.stop_all(home, grace_seconds=5) == []
    assert processes.leftovers(home) == []
    assert processes.records(home) == ()


def test_a_process_that_ignores_the_request_is_killed(home: LocalHome) -> None:
    spawn(
        home,
        "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('born', flush=True); time.sleep(600)",
    )
    wait_for(lambda: born(home))
    began = time.monotonic()
    assert processes.stop_all(home, grace_seconds=0.5) == []
    assert time.monotonic() - began >= 0.5


def test_a_number_that_was_given_to_another_process_is_never_signalled(home: LocalHome) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    try:
        created = psutil.Process(stranger.pid).create_time()
        stale = ProcessRecord(name="mlflow", pid=stranger.pid, created=created - 60)
        atomic_write_json(home.processes / "mlflow.json", encode(stale))
        assert not processes.is_running(stale)
        assert processes.leftovers(home, with_jobs=True) == []
        assert processes.stop_all(home, grace_seconds=1) == []
        assert stranger.poll() is None
        assert processes.records(home) == (), "a record without its process is removed"
    finally:
        stranger.kill()
        stranger.wait()


def test_members_of_somebody_elses_session_are_never_signalled(home: LocalHome) -> None:
    # The number of our dead leader now names a session that a stranger led, died in, and left a member of.
    nap = "[sys.executable, '-c', 'import time; time.sleep(600)'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    code = f"import subprocess, sys; print(subprocess.Popen({nap}).pid)"
    leader = subprocess.run(
        [sys.executable, "-c", code], start_new_session=True, capture_output=True, text=True, check=True, cwd="/"
    )
    member = int(leader.stdout)
    try:
        stale = ProcessRecord(name="mlflow", pid=os.getsid(member), created=time.time() - 3600)
        atomic_write_json(home.processes / "mlflow.json", encode(stale))
        assert processes.leftovers(home) == []
    finally:
        os.kill(member, signal.SIGKILL)


def test_exit_codes_in_words() -> None:
    assert [describe(code) for code in (0, 3, -9, -200)] == ["exit status 0", "exit status 3", "SIGKILL", "signal 200"]
