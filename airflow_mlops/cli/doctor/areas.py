"""All checks, in the order in which a person wants to read them: what everything else stands on comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

from airflow_mlops.cli.doctor.examine import Check
from airflow_mlops.cli.doctor.finding import Finding
from airflow_mlops.cli.doctor.site import DEFAULT_CONNECTIONS, Site
from airflow_mlops.exceptions import SpecificationError

__all__ = ["AREAS", "chosen_checks"]

_CHECKS: tuple[tuple[str, str, str, float], ...] = (
    # area, name where it breaks, module and function, seconds
    ("versions", "packages", "versions:libraries", 15),
    ("versions", "model_python", "versions:model_environment", 30),
    ("extras", "extras", "extras:extras", 15),
    ("configuration", "options", "configuration:options", 15),
    ("artifacts", "artifact_root", "artifacts:root", 30),
    ("artifacts", "API server", "artifacts:readers", 15),
    ("evidence", "chains", "artifacts:evidence", 120),
    ("connections", "metadata database", "connections:database", 20),
    ("mlflow", "registry", "mlflow:registry", 20),
    ("gateway", "gateways", "gateway:gateways", 20),
    ("metrics", "counters", "gateway:metrics", 20),
    ("cluster", "rights", "cluster:rights", 60),
    ("airflow", "components", "airflow:components", 30),
    ("airflow", "plugin", "airflow:plugin", 20),
    ("airflow", "pages", "airflow:pages", 10),
    ("watchdog", "watchdog", "watchdog:watchdog", 20),
    ("dags", "parsing", "dags:parse_cost", 70),
)
_CONNECTION_SECONDS = 20.0
#: Areas that stand before those which look at connections more closely.
_FIRST = ("versions", "extras", "configuration", "artifacts", "evidence", "connections")

#: The areas, in order.
AREAS = (*_FIRST, *dict.fromkeys(area for area, *_ in _CHECKS if area not in _FIRST))

_Look = Callable[[Site], Iterable[Finding]]


def chosen_checks(site: Site, only: Sequence[str] = ()) -> list[Check]:
    """Return the checks of some areas, or of all.

    :param only: names of areas; empty for all
    :raises SpecificationError: if there is no such area
    """
    for area in only:
        if area not in AREAS:
            raise SpecificationError("--only", area, f"one of {', '.join(AREAS)}")
    checks = [
        Check(area=area, name=name, look=_lazily(*where.split(":")), timeout_seconds=seconds)
        for area, name, where, seconds in _CHECKS
    ]
    conn_ids = dict.fromkeys((*DEFAULT_CONNECTIONS.values(), *site.conn_ids))
    tests = [
        Check(area="connections", name=one, look=_connection(one), timeout_seconds=_CONNECTION_SECONDS)
        for one in conn_ids
    ]
    in_order = sorted((*checks, *tests), key=lambda one: AREAS.index(one.area))
    return [one for one in in_order if not only or one.area in only]


def _lazily(module: str, function: str) -> _Look:
    """Load a check when it runs: one whose module cannot be imported must not take the others along."""

    def look(site: Site) -> Iterable[Finding]:
        found: Iterable[Finding] = getattr(import_module(f"airflow_mlops.cli.doctor.checks.{module}"), function)(site)
        return found

    return look


def _connection(conn_id: str) -> _Look:
    def look(site: Site) -> Iterable[Finding]:
        from airflow_mlops.cli.doctor.checks.connections import connection_check

        return connection_check(conn_id)(site)

    return look
