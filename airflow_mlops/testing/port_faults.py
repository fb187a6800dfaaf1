"""Faults at every call that a rollout makes: its process dies, an answer is lost, another writer was first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_mlops.exceptions import StaleWriteError, TransientAdapterError

__all__ = ["Boundary", "Killed", "What", "When", "faulty"]

When = Literal["before", "after"]
What = Literal["kill", "timeout", "conflict", "pause"]


class Killed(BaseException):
    """The process is gone; nothing of it may catch this and go on."""


@dataclass
class Boundary:
    """Counts calls and lets one of them go wrong.

    :param at: number of the call, from 0; None lets all pass
    :param when: ``before`` the call takes effect, or ``after`` it, so that only its answer is lost
    :param what: ``kill`` ends the process, ``timeout`` raises what may pass, ``conflict`` raises what another writer
        causes, ``pause`` calls ``on_pause`` and goes on
    :param on_pause: returns when the process may go on
    :param after_call: called with the name of every call that took effect, for example to record
    """

    at: int | None = None
    when: When = "before"
    what: What = "kill"
    on_pause: Callable[[], None] = lambda: None
    after_call: Callable[[str], None] = lambda _: None
    calls: list[str] = field(default_factory=list)

    def pass_through(self, name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Make a call, or let it go wrong."""
        hit = len(self.calls) == self.at
        self.calls.append(name)
        if hit and self.when == "before":
            self._strike(name)
        result = call(*args, **kwargs)
        self.after_call(name)
        if hit and self.when == "after":
            self._strike(name)
        return result

    def _strike(self, name: str) -> None:
        if self.what == "kill":
            raise Killed(name)
        if self.what == "timeout":
            raise TransientAdapterError(f"{name}: no answer")
        if self.what == "conflict":
            raise StaleWriteError(f"{name}: somebody else was first")
        self.on_pause()


class _Faulty:
    def __init__(self, port: Any, boundary: Boundary) -> None:
        self._port, self._boundary = port, boundary

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        label = f"{type(self._port).__name__}.{name}"
        return lambda *args, **kwargs: self._boundary.pass_through(label, found, *args, **kwargs)


def faulty(port: Any, boundary: Boundary) -> Any:
    """Return the port with every call going through the boundary; several ports may share one."""
    return _Faulty(port, boundary)
