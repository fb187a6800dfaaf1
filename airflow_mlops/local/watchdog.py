"""Watches the rollouts of the embedded stack from outside of Airflow; see :mod:`airflow_mlops.rollout.watchdog`."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import MLOpsError
from airflow_mlops.rollout.watchdog import return_expired

__all__ = ["Watchdog"]

_LOG = logging.getLogger(__name__)


class Watchdog:
    """Looks at all rollouts in a thread of its own.

    :param gateway_dir: the gateway's folder
    :param every_seconds: time between two looks
    """

    def __init__(self, gateway_dir: Path, *, every_seconds: float = 5.0) -> None:
        self._folder = gateway_dir / "rollouts"
        self._every_seconds = every_seconds
        self._router = EnvoyFilesRouter(gateway_dir)
        self._store = FileRolloutStore(gateway_dir)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End looking; returns when the present look is over."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> list[str]:
        """Look once; return what was done."""
        done = []
        for path in sorted(self._folder.glob("*.json")):
            if path.name.startswith("."):
                continue
            try:
                said = return_expired(path.stem, router=self._router, store=self._store, clock=SystemClock())
            except MLOpsError as error:
                # One damaged route must not keep the others from being watched; the next look tries again.
                _LOG.error("route %s cannot be watched: %s", path.stem, error)
                continue
            if said is not None:
                _LOG.warning("%s", said)
                done.append(said)
        return done

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            self.look()
