"""What the supervisor does next: a pure decision over what should run and what was seen.

``decide`` names at most one action per service; ``started``, ``exited``, ``probed`` and ``asked_to_stop`` say what an
observation becomes when something happened. The supervisor and the simulation in the tests drive the same functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "Action",
    "Observed",
    "Phase",
    "Wanted",
    "asked_to_stop",
    "decide",
    "exited",
    "killed",
    "phase",
    "probed",
    "retry_at",
    "started",
]

Phase = Literal["waiting", "starting", "ready", "crashed", "stopping", "stopped", "done"]

_BACKOFF_FIRST_SECONDS = 0.5
_BACKOFF_LIMIT_SECONDS = 10.0
_SETTLED_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One service that should run.

    :param name: unique among the services
    :param revision: changes when the process must be replaced, because its command or environment changed
    :param after: services that must be ready, or done, before this one is started the first time
    :param once: the process ends by itself; with status 0 its work is done
    :param startup_seconds: how long it may take until it is healthy; then it counts as hung
    :param unhealthy_seconds: how long a service that was healthy may fail its probe; then it counts as hung
    :param grace_seconds: how long it may take to stop when asked
    """

    name: str
    revision: str
    after: tuple[str, ...] = ()
    once: bool = False
    startup_seconds: float = 240.0
    unhealthy_seconds: float = 30.0
    grace_seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was seen of one service; times are seconds since the epoch.

    :param revision: revision of the process that runs, or ran last
    :param pid: its process; None when none runs
    :param healthy_since: since when its probe has succeeded; None when it does not
    :param unhealthy_since: since when a service that was healthy has failed its probe
    :param exit_code: how the last process ended, negative for a signal
    :param failures: crashes in a row; a service that was healthy for a while starts again from none
    :param restarts: crashes after which it was started again
    :param stop_at: when it was asked to stop
    """

    name: str
    revision: str | None = None
    pid: int | None = None
    started_at: float = 0.0
    healthy_since: float | None = None
    unhealthy_since: float | None = None
    exited_at: float | None = None
    exit_code: int | None = None
    crashed: bool = False
    failures: int = 0
    restarts: int = 0
    stop_at: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One thing to do.

    :param kind: ``start`` a process, ``terminate`` it with SIGTERM, ``kill`` it with SIGKILL, or ``forget`` a service
        that is neither wanted nor running
    """

    kind: Literal["start", "terminate", "kill", "forget"]
    name: str
    reason: str = ""


def decide(desired: Mapping[str, Wanted], observed: Mapping[str, Observed], now: float) -> tuple[Action, ...]:
    """Return what to do now, at most one action per service."""
    actions = []
    for name in sorted(desired.keys() | observed.keys()):
        wanted, seen = desired.get(name), observed.get(name, Observed(name=name))
        if seen.pid is None:
            action = _without_process(wanted, seen, desired, observed, now)
        else:
            action = _with_process(wanted, seen, now)
        if action is not None:
            actions.append(action)
    return tuple(actions)


def _without_process(
    wanted: Wanted | None,
    seen: Observed,
    desired: Mapping[str, Wanted],
    observed: Mapping[str, Observed],
    now: float,
) -> Action | None:
    if wanted is None:
        return Action(kind="forget", name=seen.name, reason="no longer wanted")
    if _is_done(wanted, seen):
        return None
    if seen.crashed and seen.revision == wanted.revision and now < retry_at(seen):
        return None
    if seen.exited_at is None:
        waiting = [name for name in wanted.after if not _is_up(desired.get(name), observed.get(name))]
        if waiting:
            return None
    return Action(kind="start", name=seen.name, reason="restart after a crash" if seen.crashed else "wanted")


def _with_process(wanted: Wanted | None, seen: Observed, now: float) -> Action | None:
    if seen.stop_at is not None:
        grace = wanted.grace_seconds if wanted else Wanted.grace_seconds
        if now - seen.stop_at >= grace:
            return Action(kind="kill", name=seen.name, reason=f"did not stop within {grace:g} s")
        return None
    if wanted is None:
        return Action(kind="terminate", name=seen.name, reason="no longer wanted")
    if wanted.revision != seen.revision:
        return Action(kind="terminate", name=seen.name, reason="its configuration changed")
    if wanted.once or seen.healthy_since is not None:
        return None
    if seen.unhealthy_since is not None:
        silent, limit = now - seen.unhealthy_since, wanted.unhealthy_seconds
        hung = f"did not answer its health probe for {limit:g} s"
    else:
        silent, limit = now - seen.started_at, wanted.startup_seconds
        hung = f"was not healthy within {limit:g} s of its start"
    return Action(kind="kill", name=seen.name, reason=hung) if silent >= limit else None


def _is_up(wanted: Wanted | None, seen: Observed | None) -> bool:
    """Whether a service that others wait for is there; one that nobody wants holds nobody up."""
    if wanted is None:
        return True
    return seen is not None and phase(wanted, seen) in ("ready", "done")


def _is_done(wanted: Wanted, seen: Observed) -> bool:
    return wanted.once and seen.pid is None and seen.exit_code == 0 and seen.revision == wanted.revision


def retry_at(seen: Observed) -> float:
    """When a crashed service may be started again."""
    # Beyond a few failures the limit holds anyway; the exponent must not overflow.
    delay = _BACKOFF_FIRST_SECONDS * 2.0 ** min(max(seen.failures - 1, 0), 16)
    return (seen.exited_at or 0.0) + min(delay, _BACKOFF_LIMIT_SECONDS)


def phase(wanted: Wanted | None, seen: Observed) -> Phase:
    """Say how a service is, in one word."""
    if seen.pid is not None:
        if seen.stop_at is not None:
            return "stopping"
        # A process that does its work once has no other sign of health than running.
        return "ready" if seen.healthy_since is not None else "starting"
    if wanted is not None and _is_done(wanted, seen):
        return "done"
    if seen.crashed:
        return "crashed"
    return "waiting" if seen.exited_at is None else "stopped"


def started(seen: Observed, *, pid: int, revision: str, now: float) -> Observed:
    """Take note that a process was started."""
    return replace(
        seen,
        pid=pid,
        revision=revision,
        started_at=now,
        healthy_since=None,
        unhealthy_since=None,
        exit_code=None,
        stop_at=None,
        crashed=False,
        restarts=seen.restarts + (1 if seen.crashed else 0),
        reason="",
    )


def exited(seen: Observed, *, code: int, once: bool, now: float) -> Observed:
    """Take note that the process ended: asked to, with its work done, or by a crash."""
    crashed = seen.stop_at is None and not (once and code == 0)
    settled = seen.healthy_since is not None and now - seen.healthy_since >= _SETTLED_SECONDS
    failures = (1 if settled else seen.failures + 1) if crashed else 0
    return replace(
        seen,
        pid=None,
        exited_at=now,
        exit_code=code,
        crashed=crashed,
        failures=failures,
        healthy_since=None,
        unhealthy_since=None,
        stop_at=None,
    )


def probed(seen: Observed, *, healthy: bool, now: float) -> Observed:
    """Take note of a probe's answer; silence before the first success is still starting."""
    if healthy:
        return replace(seen, healthy_since=seen.healthy_since or now, unhealthy_since=None)
    if seen.healthy_since is None:
        return seen
    return replace(seen, healthy_since=None, unhealthy_since=now)


def asked_to_stop(seen: Observed, *, reason: str, now: float) -> Observed:
    """Take note that SIGTERM was sent."""
    return replace(seen, stop_at=now, reason=reason)


def killed(seen: Observed, *, reason: str) -> Observed:
    """Take note that SIGKILL was sent, or that the process could not even be started."""
    return replace(seen, reason=reason)
