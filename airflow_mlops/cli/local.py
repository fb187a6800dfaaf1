"""What the commands ``airflow mlops local …`` do: read arguments, call, print, set the exit status."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from airflow_mlops.cli.output import columns, exits, say
from airflow_mlops.codec import encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.local import control, replay
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.settings import Ports
from airflow_mlops.local.state import ServiceState
from airflow_mlops.rollout.routing import Sticky

__all__ = ["down", "start", "status", "stop", "up"]


@exits
def up(args: argparse.Namespace) -> int:
    """Start the stack and wait until it is healthy."""
    home = _home(args)
    options = control.UpOptions(
        ports=_ports(args, home),
        with_airflow=not args.no_airflow,
        dags_folder=Path(args.dags_folder) if args.dags_folder else None,
        users=_users(args),
        requirements=tuple(Path(item) for item in args.requirements),
        timeout_seconds=args.timeout,
    )
    control.up(home, options, say)
    return 0


@exits
def down(args: argparse.Namespace) -> int:
    """Stop the stack."""
    home = _home(args)
    say("everything is stopped" if control.down(home, say) else f"nothing runs in {home.root}")
    return 0


@exits
def status(args: argparse.Namespace) -> int:
    """Print how the services are."""
    home = _home(args)
    state = control.status(home)
    services = state.services if state else ()
    healthy = state is not None and state.is_healthy
    if args.json:
        running = control.is_supervised(home)
        document = {"home": str(home.root), "running": running, "healthy": healthy, "services": encode(services)}
        print(json.dumps(document, indent=2))
    elif services:
        print(_table(services))
    else:
        print(f"no stack was ever started in {home.root}")
    return 0 if healthy else 1


@exits
def start(args: argparse.Namespace) -> int:
    """Let the traffic generator send."""
    requests = Path(args.requests).expanduser().resolve()
    wanted = replay.Replay(
        requests=str(requests),
        model_name=args.model_name or requests.stem.split("-")[0],
        rate_per_second=args.rate,
        label_delay_seconds=args.label_delay_seconds,
        loop=args.loop,
    )
    replay.start_traffic(_home(args), wanted)
    say(f"{wanted.rate_per_second:g} requests per second from {requests.name} to {wanted.model_name}")
    return 0


@exits
def stop(args: argparse.Namespace) -> int:
    """Let the traffic generator stop."""
    say("no more traffic" if replay.stop_traffic(_home(args)) else "there was no traffic")
    return 0


def _home(args: argparse.Namespace) -> LocalHome:
    from airflow.configuration import conf

    folder = args.home or conf.get("mlops", "local_home", fallback=None)
    if not folder:
        raise SpecificationError("home", None, "a folder, by --home or the option [mlops] local_home")
    return LocalHome(Path(folder))


def _ports(args: argparse.Namespace, home: LocalHome) -> Ports | None:
    """Return the ports that the options ask for, on top of a block or of the last time's; None without options."""
    single: dict[str, Any] = {
        name: value
        for name in (item.name for item in fields(Ports))
        if (value := getattr(args, _option(name), None)) is not None
    }
    if args.port_base is not None:
        return replace(Ports.from_base(args.port_base), **single)
    settings = home.settings()
    return replace(settings.ports if settings else Ports(), **single) if single else None


def _users(args: argparse.Namespace) -> Sticky | None:
    named = {"header": args.users_header, "cookie": args.users_cookie}
    return Sticky(**named) if any(named.values()) else None


def _option(field: str) -> str:
    return "server_port_first" if field == "server_first" else f"{field}_port"


def _table(services: tuple[ServiceState, ...]) -> str:
    rows: list[tuple[str, ...]] = [("SERVICE", "PHASE", "PID", "PORT", "RESTARTS", "SINCE", "MESSAGE")]
    for item in services:
        since = time.strftime("%H:%M:%S", time.localtime(item.since))
        message = item.message.splitlines()[0] if item.message else ""
        cells = (item.pid, item.port, item.restarts, since, message)
        rows.append((item.name, item.phase, *("" if cell is None else str(cell) for cell in cells)))
    return columns(rows)
