"""Whether MLflow is new enough, and its registry knows aliases."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, tell
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import MLOpsError

__all__ = ["registry"]

_OLDEST = Version("2.3")


def registry(site: Site) -> Iterator[Finding]:
    """Look at each MLflow server that a connection leads to."""
    conn_ids = site.connections("mlflow")
    if not conn_ids:
        yield note("server", "no connection leads to MLflow: registration, promotion and tracking cannot run")
    for conn_id in conn_ids:
        try:
            yield from _look(site, conn_id)
        except MLOpsError as error:
            yield failed(conn_id, str(error), "correct the connection or the rights of its user, or start the server")


def _look(site: Site, conn_id: str) -> Iterator[Finding]:
    from airflow_mlops.adapters.registry.mlflow_facts import server_facts
    from airflow_mlops.hooks.mlflow import MLflowHook

    facts = server_facts(MLflowHook(conn_id).server)
    client = site.version("mlflow-skinny") or site.version("mlflow")
    if facts.version is None:
        yield note(f"{conn_id} version", "the server does not tell its version")
    else:
        old = _before(facts.version, _OLDEST)
        yield tell(
            f"{conn_id} version",
            f"server {facts.version}, client {client or 'not installed'}"
            + (f"; {_OLDEST} is the first with aliases" if old else ""),
            "upgrade the MLflow server",
            level="fail" if old else "ok",
        )
    if facts.aliases:
        yield ok(f"{conn_id} aliases", "the registry knows aliases, which champions and challengers are")
    else:
        yield failed(
            f"{conn_id} aliases",
            "the registry does not know aliases, which champions and challengers are",
            "use an MLflow server of version 2.3 or later, or a service whose registry has aliases",
        )


def _before(text: str, oldest: Version) -> bool:
    try:
        return Version(text) < oldest
    except InvalidVersion:
        return False
