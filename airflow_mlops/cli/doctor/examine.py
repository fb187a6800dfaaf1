"""Runs checks so that none can take the others along: one that crashes or hangs becomes a finding itself."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from airflow_mlops.cli.doctor.finding import Finding
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import MLOpsError

__all__ = ["Check", "examine"]

_LONGEST = 2000


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing to look at.

    :param area: what it belongs to
    :param name: what it is called where it crashes or hangs
    :param look: yields findings; what it yielded before it broke counts
    :param timeout_seconds: how long it may take
    """

    area: str
    name: str
    look: Callable[[Site], Iterable[Finding]]
    timeout_seconds: float = 15.0


def examine(checks: Sequence[Check], site: Site, *, timeout_seconds: float | None = None) -> Iterator[Finding]:
    """Run checks one after another and yield what they find, without secrets.

    :param timeout_seconds: how long each may take; None for what each says itself
    """
    for check in checks:
        limit = check.timeout_seconds if timeout_seconds is None else timeout_seconds
        for one in _run(check, site, limit):
            yield replace(
                one, area=check.area, message=site.hide(one.message)[:_LONGEST], remedy=site.hide(one.remedy)[:_LONGEST]
            )


def _run(check: Check, site: Site, limit: float) -> list[Finding]:
    found: list[Finding] = []
    broke: list[BaseException] = []

    def work() -> None:
        try:
            for one in check.look(site):
                found.append(one)  # noqa: PERF402 - what came before a crash or a silence counts
        except BaseException as error:  # noqa: BLE001 - whatever it is, it becomes a finding
            broke.append(error)

    # A daemon: Python does not wait at its end for one that hangs.
    thread = threading.Thread(target=work, name=f"doctor: {check.area}, {check.name}", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        return [*found, _silent(check, f"no answer within {limit:g} s")]
    return [*found, *(_told(check, error) for error in broke)]


def _silent(check: Check, message: str) -> Finding:
    remedy = "find out what it waits for (network, file system, database), or give it longer by --timeout"
    return Finding(check=check.name, level="fail", message=message, remedy=remedy)


def _told(check: Check, error: BaseException) -> Finding:
    """Return what an error says: one that is raised on purpose is what was found, any other breaks the check."""
    from airflow.sdk.exceptions import AirflowException

    if isinstance(error, subprocess.TimeoutExpired):
        return _silent(check, f"a process that it started gave no answer within {error.timeout:g} s")
    if isinstance(error, (MLOpsError, AirflowException)):
        return Finding(check=check.name, level="fail", message=str(error), remedy="do what the message says")
    return Finding(
        check=check.name,
        level="error",
        message=f"this check broke: {type(error).__name__}: {error}",
        remedy="what it looks at is unknown; repair what the message names, or report it as a fault of the doctor",
    )
