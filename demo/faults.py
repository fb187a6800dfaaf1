"""Killing one process of the stack at a chosen moment of a pipeline."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass

import psutil

from airflow_mlops.local.state import read_state
from demo.airflow_api import AirflowApi
from demo.stack import MODEL, Stack
from demo.teller import Teller

#: Who is killed while which task of which pipeline runs. Each list is one release.
PLANS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "worker": (("worker", "ct_flights", "train"), ("mlflow", "ct_flights", "register"),
               ("airflow-triggerer", "cd_flights", "canary")),
    "scheduler": (("airflow-scheduler", "ct_flights", "train"), ("envoy", "cd_flights", "canary")),
    "api-server": (("airflow-api-server", "ct_flights", "evaluate"), ("champion", "cd_flights", "canary")),
    "dag-processor": (("airflow-dag-processor", "ct_flights", "validate"), ("candidate", "cd_flights", "canary")),
    "supervisor": (("supervisor", "cd_flights", "canary"),),
}  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """What was killed, and when (seconds since the epoch)."""

    victim: str
    during: str
    pid: int
    at: float


class Assassin:
    """Kills processes while the story goes on, each when a certain task runs.

    :param plan: victim, DAG and task, in order
    """

    def __init__(self, stack: Stack, teller: Teller, plan: tuple[tuple[str, str, str], ...]) -> None:
        self._stack = stack
        self._teller = teller
        self._plan = plan
        self._champion = stack.alias("champion")
        self._known = {dag_id: stack.api.run_ids(dag_id) for dag_id in {dag_id for _, dag_id, _ in plan}}
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.kills: list[Kill] = []

    def start(self) -> None:
        """Begin to lurk."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until every victim was met."""
        self._thread.join(timeout=5)

    def _work(self) -> None:
        for victim, dag_id, task_id in self._plan:
            self._wait_for(dag_id, task_id)
            pid = self._pid(victim, task_id)
            os.kill(pid, signal.SIGKILL)
            self.kills.append(Kill(victim, f"{dag_id}.{task_id}", pid, time.time()))
            self._teller.say(f"  KILLED {victim} (process {pid}) during {dag_id}.{task_id}")
            if victim == "supervisor":
                time.sleep(3)
                self._stack.up()

    def _wait_for(self, dag_id: str, task_id: str) -> None:
        api: AirflowApi = self._stack.api
        run_id = api.next_run(dag_id, self._known[dag_id], timeout_seconds=600)
        while True:
            states = {task.state for task in api.tasks(dag_id, run_id) if task.task_id == task_id}
            if states & {"running", "deferred"}:
                # Into the middle of it: the first second of a task is Airflow's own.
                time.sleep(2.5)
                return
            time.sleep(0.3)

    def _pid(self, victim: str, task_id: str) -> int:
        state = read_state(self._stack.home)
        if state is None:
            raise RuntimeError("the stack does not run")
        if victim == "supervisor":
            return state.supervisor_pid
        pids = {service.name: service.pid for service in state.services if service.pid}
        if victim == "worker":
            return self._worker(pids["airflow-scheduler"], task_id)
        if victim in {"champion", "candidate"}:
            servers = {name for name in pids if name.startswith(f"server-{MODEL}-v")}
            champion = f"server-{MODEL}-v{self._champion}"
            return pids[champion if victim == "champion" else (servers - {champion}).pop()]
        return pids[victim]

    @staticmethod
    def _worker(scheduler: int, task_id: str) -> int:
        """Find the process that supervises the running task: the training itself lives in a session of its own."""
        lines = {process: _command_line(process) for process in psutil.Process(scheduler).children(recursive=True)}
        tasks = {
            process: line.split("-- ", 1)[-1].strip() for process, line in lines.items() if "airflow worker -- " in line
        }
        # An idle worker says so; a busy one names the task instance.
        busy = [process for process, task in tasks.items() if "idle" not in task and len(task) > 20]
        if not busy:
            raise RuntimeError(f"no worker runs {task_id}")
        return int(busy[0].pid)


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # it has ended since it was listed
