"""Publishing where a rollout stands, for the page that follows it: one small file per task, always replaced."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evidence import Origin
    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.rollout.live import LiveRollout
    from airflow_mlops.rollout.state import RolloutState

__all__ = ["LivePage", "live_parts", "publish_live", "read_live"]

_LOG = logging.getLogger(__name__)
#: Between two decisions a page is written this often. A file costs as much of the triggerer's processor as the rest of
#: a look, which a thousand rollouts feel; a request to an object store costs money and a thread's time.
_LOCAL_SECONDS = 5.0
_REMOTE_SECONDS = 15.0


class LivePage:
    """Writes where one task's rollout stands; never raises, because a page must not disturb a rollout.

    :param task: ``dag_id``, ``run_id``, ``task_id`` and ``map_index`` of the task
    """

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._store: ArtifactStore | None = None
        self._file: Path | None = None
        self._sequence = -1
        self._decisions = -1
        self._written_at: float | None = None
        self._complained = False

    def publish(self, state: RolloutState) -> None:
        """Write, if something has changed; between two decisions only every few seconds."""
        try:
            if state.sequence == self._sequence and len(state.history) == self._decisions:
                return
            self._publish(state)
        except Exception as error:  # noqa: BLE001 - whatever it is, the rollout goes on
            if not self._complained:
                _LOG.warning("%s: the live page cannot be written: %s", state.model_name, error)
            self._complained = True

    def _publish(self, state: RolloutState) -> None:
        from airflow_mlops.rollout.live import live_rollout

        if self._store is None:
            self._open()
        every = _REMOTE_SECONDS if self._file is None else _LOCAL_SECONDS
        due = self._written_at is None or time.monotonic() - self._written_at >= every
        if not due and len(state.history) == self._decisions:
            return
        self._write(live_rollout(state, now=time.time()))
        self._sequence, self._decisions = state.sequence, len(state.history)
        self._written_at = time.monotonic()

    def _open(self) -> None:
        from airflow_mlops.hooks.artifacts import ArtifactStore, local_path

        self._store = ArtifactStore.from_config()
        self._file = local_path(self._store.uri(*self._parts()))

    def _parts(self) -> tuple[str, ...]:
        task = self._task
        return live_parts(task["dag_id"], task["run_id"], task["task_id"], task["map_index"])

    def _write(self, live: LiveRollout) -> None:
        import json

        from airflow_mlops.codec import encode

        content = json.dumps(encode(live), ensure_ascii=False, allow_nan=False).encode()
        if self._file is None:
            if self._store is not None:
                self._store.write_bytes(content, *self._parts())
            return
        # One task writes this file, from one process at a time; if two do, each replaces it whole.
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            beside.write_bytes(content)
        except FileNotFoundError:
            beside.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(content)
        beside.replace(self._file)


def publish_live(who: Origin, state: RolloutState) -> None:
    """Write where a rollout stands now, from its task; never raises.

    :param who: the task that moves the traffic
    """
    task = {"dag_id": who.dag_id, "run_id": who.run_id, "task_id": who.task_id, "map_index": who.map_index}
    LivePage(task).publish(state)


def read_live(store: ArtifactStore, dag_id: str, run_id: str, task_id: str, map_index: int) -> LiveRollout | None:
    """Return where a task's rollout stood last, None if it never published anything.

    :raises ContractError: if the file is no such document
    """
    from airflow_mlops.codec import decode
    from airflow_mlops.rollout.live import LiveRollout

    parts = live_parts(dag_id, run_id, task_id, map_index)
    if not store.exists(*parts):
        return None
    try:
        found = decode(LiveRollout, store.read_json(*parts), where="live")
    except SpecificationError as error:
        raise ContractError(f"{store.uri(*parts)}: this is no live page of a rollout: {error}") from error
    return replace(found, weights=dict(found.weights))


def live_parts(dag_id: str, run_id: str, task_id: str, map_index: int) -> tuple[str, ...]:
    """Where a task's live page lies below the root."""
    return "live", dag_id, run_id, task_id, f"{map_index}.json"
