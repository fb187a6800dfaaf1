"""Whether somebody returns the traffic of a rollout whose judge has died."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_mlops.cli.doctor.finding import Finding, note, ok, warn
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import MLOpsError, PermanentAdapterError

__all__ = ["watchdog"]

_START = "python -m airflow_mlops.cli.cluster_watchdog, as a CronJob; the chart makes it with watchdog.enabled"
_LATE_SECONDS = 600.0


def watchdog(site: Site) -> Iterator[Finding]:
    """Look for the watchdog of each gateway."""
    from airflow_mlops.hooks.gateway import ModelGatewayHook

    conn_ids = site.connections("model_gateway")
    if not conn_ids:
        yield note("watchdog", "no connection leads to a gateway, so there is nothing to watch")
    for conn_id in conn_ids:
        hook = ModelGatewayHook(conn_id)
        try:
            if hook.kind.in_cluster:
                yield from _in_cluster(conn_id, hook)
            else:
                yield _local(conn_id, hook.directory)
        except MLOpsError as error:
            yield warn(conn_id, f"not seen: {error}", "see the area connections")


def _local(conn_id: str, directory: Path) -> Finding:
    """Ask the supervisor of the embedded stack, where the gateway is its own."""
    from airflow_mlops.hooks.settings import local_home
    from airflow_mlops.local import control
    from airflow_mlops.local.home import LocalHome

    home = local_home()
    command = f"python -m airflow_mlops.local.watchdog --gateway-dir={directory}"
    if home is None or LocalHome(home).gateway.resolve() != directory.resolve():
        return note(
            conn_id,
            f"the gateway in {directory} is not of an embedded stack; its watchdog is not seen",
            f"run {command}",
        )
    # The stack's watchdog is a thread of its supervisor.
    if control.is_supervised(LocalHome(home)):
        return ok(conn_id, "the supervisor of the embedded stack watches")
    return warn(
        conn_id,
        "the supervisor of the embedded stack does not run, so traffic of a rollout whose judge dies stays where it is",
        f"airflow mlops local up --home {home}",
    )


def _in_cluster(conn_id: str, hook: Any) -> Iterator[Finding]:
    from airflow_mlops.adapters.pods.cron_jobs import cron_jobs

    try:
        jobs = cron_jobs(hook.cluster_client(), hook.namespace)
    except PermanentAdapterError as error:
        yield note(
            conn_id,
            f"this account may not list CronJobs of the namespace {hook.namespace}, so the watchdog is not seen: "
            f"{error}",
            "run the doctor as somebody who may",
        )
        return
    ours = [one for one in jobs if "airflow_mlops.cli.cluster_watchdog" in one.command]
    if not ours:
        yield warn(conn_id, f"no CronJob of the namespace {hook.namespace} is the watchdog", _START)
    for one in ours:
        age = None if one.last_scheduled is None else (datetime.now(UTC) - one.last_scheduled).total_seconds()
        check = f"{conn_id} {one.name}"
        if one.suspended:
            yield warn(
                check, "it is suspended", f'kubectl patch cronjob {one.name} -p \'{{"spec":{{"suspend":false}}}}\''
            )
        elif age is None:
            yield warn(check, f"it never ran (schedule {one.schedule})", "look at its events, if it was made long ago")
        elif age > _LATE_SECONDS:
            yield warn(
                check,
                f"it ran last {age / 60:.0f} minutes ago (schedule {one.schedule})",
                "look at its Jobs and events",
            )
        else:
            yield ok(check, f"it ran {age:.0f} s ago (schedule {one.schedule})")
