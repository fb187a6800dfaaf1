"""How a story speaks and what stops it."""

from __future__ import annotations

import time
from collections.abc import Callable

from demo.airflow_api import TaskState

_QUIET = {"scheduled", "queued", "restarting"}


class StoryError(Exception):
    """What a story promises did not happen."""


class Teller:
    """Prints what happens as it happens, with the seconds since the story began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)

    def seen(self, dag_id: str) -> Callable[[TaskState], None]:
        """Return what tells the changes of a run's tasks."""

        def tell(task: TaskState) -> None:
            if task.state not in _QUIET:
                again = f" (try {task.try_number})" if task.try_number > 1 else ""
                self.say(f"  {dag_id:16} {task.label:18} {task.state}{again}")

        return tell


def expect(condition: bool, otherwise: str) -> None:
    """Stop the story where a promise does not hold."""
    if not condition:
        raise StoryError(otherwise)
