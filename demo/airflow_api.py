"""The few calls of Airflow's public REST API that the stories need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

FINAL_RUN_STATES = {"success", "failed"}


@dataclass(frozen=True)
class TaskState:
    """One task instance as the API shows it."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int

    @property
    def label(self) -> str:
        """Task id, with the index where the task is mapped."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


class AirflowApi:
    """A client that outlives restarts of the API server.

    :param url: of Airflow's API server, for example ``http://127.0.0.1:8080``
    :param patience_seconds: how long an unreachable server is asked again
    """

    def __init__(self, url: str, *, patience_seconds: float = 90.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=20.0)
        self._patience = patience_seconds
        self._token = ""

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start one DAG run and return its id.

        The id is chosen here, so that asking again after a lost answer never starts a second run.
        """
        run_id = f"manual__{datetime.now(UTC).isoformat()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body, exists_ok=True)
        return run_id

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The newest runs of a DAG, newest first."""
        return list(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns?order_by=-run_after&limit=20")["dag_runs"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of one DAG run."""
        return str(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """All task instances of a run."""
        answer = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances?limit=100")
        return [
            TaskState(item["task_id"], item["map_index"], item["state"], item["try_number"])
            for item in answer["task_instances"]
        ]

    def result(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """An XCom value; None where the task left none."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._call("GET", f"{path}?map_index={map_index}&deserialize=false", missing_ok=True)
        return None if answer is None else answer["value"]

    def error(self, dag_id: str, run_id: str, task: TaskState) -> str:
        """Message of the exception that ended a task instance's newest try; its last lines where there is none."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task.task_id}/logs/{task.try_number}"
        answer = self._call("GET", f"{path}?map_index={task.map_index}&full_content=true", missing_ok=True)
        lines = [] if answer is None else [line for line in answer["content"] if isinstance(line, dict)]
        raised = [line["error_detail"][0]["exc_value"] for line in lines if line.get("error_detail")]
        if raised:
            return str(raised[-1])
        return " | ".join(str(line.get("event", "")) for line in lines[-5:])

    def pause(self, dag_id: str, paused: bool) -> None:
        """Pause or unpause a DAG."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def dags(self) -> set[str]:
        """Ids of the DAGs that Airflow knows."""
        return {dag["dag_id"] for dag in self._call("GET", "/api/v2/dags?limit=100")["dags"]}

    def import_errors(self) -> list[str]:
        """Messages of DAG files that did not parse."""
        errors = self._call("GET", "/api/v2/importErrors")["import_errors"]
        return [f"{item['filename']}: {item['stack_trace']}" for item in errors]

    def follow(
        self, dag_id: str, run_id: str, *, timeout_seconds: float, seen: Callable[[TaskState], None]
    ) -> tuple[str, list[TaskState]]:
        """Wait for a run and tell every change of a task's state.

        :returns: the run's final state and its task instances
        :raises TimeoutError: if the run does not end in time; the message says what it waits for
        """
        known: dict[str, str | None] = {}
        for _ in _until(timeout_seconds):
            state = self.run_state(dag_id, run_id)
            tasks = self.tasks(dag_id, run_id)
            for task in tasks:
                if known.get(task.label) != task.state and task.state:
                    known[task.label] = task.state
                    seen(task)
            if state in FINAL_RUN_STATES:
                return state, tasks
        unfinished = ", ".join(f"{task.label}: {task.state}" for task in tasks if task.state != "success")
        raise TimeoutError(f"{dag_id} {run_id} did not end within {timeout_seconds:.0f} s; {unfinished}")

    def next_run(self, dag_id: str, known: set[str], *, timeout_seconds: float) -> str:
        """Wait for a run of ``dag_id`` that is not among ``known`` and return its id."""
        for _ in _until(timeout_seconds):
            for run in self.runs(dag_id):
                if run["dag_run_id"] not in known:
                    return str(run["dag_run_id"])
        raise TimeoutError(f"no new run of {dag_id} began within {timeout_seconds:.0f} s")

    def run_ids(self, dag_id: str) -> set[str]:
        """Ids of the newest runs of a DAG."""
        return {str(run["dag_run_id"]) for run in self.runs(dag_id)}

    def _call(
        self, method: str, path: str, *, missing_ok: bool = False, exists_ok: bool = False, **options: Any
    ) -> Any:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._client.request(method, path, headers=self._headers(), **options)
                if answer.status_code == httpx.codes.UNAUTHORIZED:
                    self._token = ""
                    answer = self._client.request(method, path, headers=self._headers(), **options)
                if answer.status_code == httpx.codes.NOT_FOUND and missing_ok:
                    return None
                if answer.status_code == httpx.codes.CONFLICT and exists_ok:
                    return None
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    break
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Airflow does not answer {method} {path}: {error!r}") from error
            if time.monotonic() > deadline:
                break
            time.sleep(1.0)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def _headers(self) -> dict[str, str]:
        if not self._token:
            # The embedded stack listens on the loopback interface only and takes everyone there for its admin.
            self._token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
        return {"Authorization": f"Bearer {self._token}"}


def _until(timeout_seconds: float, pause_seconds: float = 1.0) -> Iterator[None]:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(pause_seconds)
