"""The supervisor: keeps what should run running, until it is told to stop.

``python -m airflow_mlops.local.supervisor --home DIR``

It looks every 0.2 s: what should run (fixed services, and documents in the home), what does run, what is healthy;
:func:`airflow_mlops.local.plan.decide` says what follows from that. It holds no state that matters: one that comes
after a killed supervisor stops what that left behind and starts everything anew.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError, MLOpsError, SpecificationError
from airflow_mlops.files import atomic_write_json
from airflow_mlops.local import lock, plan, processes
from airflow_mlops.local.exits import describe, exit_code
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.plan import Action, Observed
from airflow_mlops.local.probes import Prober
from airflow_mlops.local.replay import TRAFFIC, traffic_service
from airflow_mlops.local.report import Reporter
from airflow_mlops.local.servers import ServerFiles
from airflow_mlops.local.services import Service, core_services
from airflow_mlops.local.settings import Settings
from airflow_mlops.local.watchdog import Watchdog

__all__ = ["Supervisor", "main"]

_LOG = logging.getLogger("airflow_mlops.supervisor")
_LOOK_SECONDS = 0.2
_LOCK_WAIT_SECONDS = 5.0
_LEFTOVER_GRACE_SECONDS = 10.0
_LOG_LIMIT_BYTES = 20 << 20


class Supervisor:
    """Drives the plan with real processes; the home's lock is held by the caller."""

    def __init__(self, home: LocalHome, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._core = core_services(home, settings)
        self._servers = ServerFiles(home, settings)
        self._servers.load()
        self._services: dict[str, Service] = {}
        self._observed: dict[str, Observed] = {}
        self._prober = Prober()
        self._reporter = Reporter(home, self._servers, os.getpid())
        self._watchdog = Watchdog(home.gateway)
        self._stopping = threading.Event()
        self._abandoned = False

    def stop(self) -> None:
        """Ask the supervisor to stop everything and return from :meth:`run`."""
        self._stopping.set()

    def run(self) -> None:
        """Look, decide and act until everything that was to be stopped is stopped."""
        self._watchdog.start()
        while True:
            if not self._abandoned and not self._home.lock_file.exists():
                _LOG.warning("%s was removed; everything that ran there is stopped", self._home.root)
                self._abandoned = True
                self.stop()
            self.look()
            if not self._stopping.is_set():
                self._stopping.wait(_LOOK_SECONDS)
            elif any(seen.pid is not None for seen in self._observed.values()):
                time.sleep(_LOOK_SECONDS / 4)
            else:
                break
        self._watchdog.stop()
        self._prober.close()
        if not self._abandoned:
            self._reporter.stopped()

    def look(self) -> None:
        """Go through one round."""
        desired, problems = self._desired()
        kept = {name: item for name, item in self._services.items() if name in self._observed}
        self._services = {**kept, **desired}
        for name, seen in list(self._observed.items()):
            if seen.pid is not None:
                self._observed[name] = self._examined(seen, seen.pid)
        wanted = {name: item.wanted for name, item in desired.items()}
        for action in plan.decide(wanted, self._observed, time.time()):
            self._apply(action)
        if not self._abandoned:  # a report would bring the removed folder back
            self._reporter.report(self._services, wanted, self._observed, problems, stopping=self._stopping.is_set())

    def _desired(self) -> tuple[dict[str, Service], dict[str, str]]:
        if self._stopping.is_set():
            return {}, {}
        servers, problems = self._servers.services()
        desired = {**self._core, **servers}
        try:
            traffic = traffic_service(self._home, self._settings)
        except (ContractError, SpecificationError) as error:
            problems[TRAFFIC] = str(error)
        else:
            if traffic is not None:
                desired[TRAFFIC] = traffic
        return desired, problems

    def _examined(self, seen: Observed, pid: int) -> Observed:
        """Look whether a process ended, and ask about its health if not."""
        service = self._services[seen.name]
        code = exit_code(pid)
        now = time.time()
        if code is None:
            if service.probe is None or seen.stop_at is not None:
                return seen
            was_healthy = seen.healthy_since is not None
            healthy = self._prober.ask(
                seen.name, service.probe, started_at=seen.started_at, was_healthy=was_healthy, now=now
            )
            return seen if healthy is None else plan.probed(seen, healthy=healthy, now=now)
        # Its number stays taken, and with it the session's, until it is reaped: nobody else can be hit.
        if processes.kill_session(pid):
            return seen
        os.waitpid(pid, 0)
        processes.forget(self._home, seen.name)
        after = plan.exited(seen, code=code, once=service.wanted.once, now=now)
        level = logging.WARNING if after.crashed else logging.INFO
        _LOG.log(level, "%s (pid %d) ended with %s", seen.name, pid, describe(code))
        return after

    def _apply(self, action: Action) -> None:
        seen = self._observed.get(action.name, Observed(name=action.name))
        if action.kind == "start":
            self._observed[action.name] = self._start(self._services[action.name], seen)
        elif action.kind == "forget":
            self._observed.pop(action.name, None)
            self._services.pop(action.name, None)
            return
        elif seen.pid is not None and action.kind == "terminate":
            processes.signal_session(seen.pid, signal.SIGTERM)
            self._observed[action.name] = plan.asked_to_stop(seen, reason=action.reason, now=time.time())
        elif seen.pid is not None:
            processes.signal_session(seen.pid, signal.SIGKILL)
            self._observed[action.name] = plan.killed(seen, reason=action.reason)
        _LOG.info("%s: %s (%s)", action.name, action.kind, action.reason)

    def _start(self, service: Service, seen: Observed) -> Observed:
        name, revision = service.wanted.name, service.wanted.revision
        service.log.parent.mkdir(parents=True, exist_ok=True)
        if service.log.exists() and service.log.stat().st_size > _LOG_LIMIT_BYTES:
            service.log.replace(service.log.with_suffix(".log.1"))
        try:
            with service.log.open("ab") as log:
                record = processes.spawn(
                    self._home, name, service.command, environment=service.environment, log=log, cwd=service.cwd
                )
        except OSError as error:
            _LOG.warning("%s: cannot be started: %s", name, error)
            failed = plan.started(seen, pid=0, revision=revision, now=time.time())
            failed = plan.exited(failed, code=127, once=False, now=time.time())
            return plan.killed(failed, reason=f"cannot be started: {error}")
        return plan.started(seen, pid=record.pid, revision=revision, now=record.created)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the supervisor of a home; return the process's exit status."""
    parser = argparse.ArgumentParser(prog="airflow_mlops.local.supervisor", description="Keep a local stack running.")
    parser.add_argument(
        "--home", required=True, type=Path, help="folder of the stack, made by `airflow mlops local up`"
    )
    home = LocalHome(parser.parse_args(arguments).home)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = home.settings()
    if settings is None:
        _LOG.error("%s: there are no settings here; run `airflow mlops local up` first", home.root)
        return 2
    held = lock.acquire(home.lock_file, wait_seconds=_LOCK_WAIT_SECONDS)
    if held is None:
        _LOG.error("%s: another supervisor runs already", home.root)
        return 3
    with held:
        return _supervise(home, settings)


def _supervise(home: LocalHome, settings: Settings) -> int:
    import psutil

    started = psutil.Process().create_time()
    record = processes.ProcessRecord(name="supervisor", pid=os.getpid(), created=started)
    # Before the records of earlier processes, and with them the one of this process, are cleared away.
    atomic_write_json(home.supervisor_file, encode(record))
    left = processes.stop_all(home, grace_seconds=_LEFTOVER_GRACE_SECONDS)
    if left:
        _LOG.error("processes of an earlier supervisor cannot be stopped: %s", left)
        return 4
    try:
        supervisor = Supervisor(home, settings)
    except MLOpsError as error:
        _LOG.error("%s", error)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _LOG.info("supervising %s", home.root)
    try:
        supervisor.run()
    finally:
        # After an error of its own the supervisor leaves nothing behind that nobody watches.
        processes.stop_all(home, grace_seconds=_LEFTOVER_GRACE_SECONDS)
    _LOG.info("everything is stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
