"""Watches the rollouts of a gateway's folder from outside of Airflow; see :mod:`airflow_mlops.rollout.watchdog`.

The embedded stack looks from a thread; elsewhere a scheduler does: ``python -m airflow_mlops.local.watchdog
--gateway-dir DIR`` looks once and ends with status 1 if a route cannot be watched.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.rollout.watchdog import return_expired

__all__ = ["Watchdog", "main"]

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
        return self._look()[0]

    def look_or_fail(self) -> list[str]:
        """Look once; return what was done.

        :raises SpecificationError: if the folder is no gateway's
        :raises MLOpsError: if a route cannot be watched; the others were
        """
        if not self._router.folder.is_dir():
            # A volume that is mounted wrongly looks like a gateway without rollouts.
            raise SpecificationError("gateway_dir", str(self._folder.parent), "a gateway's folder, which holds envoy/")
        done, failed = self._look()
        if failed:
            raise MLOpsError(f"not watched: {'; '.join(failed)}")
        return done

    def _look(self) -> tuple[list[str], list[str]]:
        done, failed = [], []
        for path in sorted(self._folder.glob("*.json")):
            if path.name.startswith("."):
                continue
            try:
                said = return_expired(path.stem, router=self._router, store=self._store, clock=SystemClock())
            except MLOpsError as error:
                # One damaged route must not keep the others from being watched; the next look tries again.
                _LOG.error("route %s cannot be watched: %s", path.stem, error)
                failed.append(path.stem)
                continue
            if said is not None:
                _LOG.warning("%s", said)
                done.append(said)
        return done, failed

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            self.look()


def main(arguments: Sequence[str] | None = None) -> int:
    """Look once, say what was done, and return the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m airflow_mlops.local.watchdog", description=main.__doc__)
    parser.add_argument("--gateway-dir", type=Path, required=True, help="folder of routes and rollouts")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        done = Watchdog(options.gateway_dir).look_or_fail()
    except (MLOpsError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command
        return 1
    if not done:
        print("every rollout is decided or still judged")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
