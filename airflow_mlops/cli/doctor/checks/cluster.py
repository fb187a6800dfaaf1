"""Whether this process may do in the cluster what operators and triggers do there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.rights import Right, rights_of_jobs, rights_of_rollouts
from airflow_mlops.cli.doctor.site import DEFAULT_CONNECTIONS, Site
from airflow_mlops.exceptions import MLOpsError

__all__ = ["may", "rights"]


def rights(site: Site) -> Iterator[Finding]:
    """Ask the API server about every right, in each namespace that the configuration names."""
    wanted: dict[str, tuple[Any, list[Right]]] = {}
    for client, namespace, needed in (*_jobs(site), *_rollouts(site)):
        _, known = wanted.setdefault(namespace, (client, []))
        known += [one for one in needed if one not in known]
    if not wanted:
        yield note(
            "cluster",
            "nothing here runs in a cluster: no settings of the backend kubernetes, no gateway in one",
            "--namespace NAME asks for the rights of trainings there",
        )
    for namespace, (client, needed) in wanted.items():
        try:
            yield from may(client, namespace, needed)
        except MLOpsError as error:
            yield failed(namespace, str(error), "correct the way to the cluster: connection, kubeconfig or account")


def may(client: Any, namespace: str, needed: list[Right]) -> Iterator[Finding]:
    """Ask whether this account has rights.

    :param client: ``kubernetes.client.ApiClient``
    :param namespace: where
    """
    from airflow_mlops.adapters.pods.access_review import is_allowed

    for right in needed:
        refused = [verb for verb in right.verbs if not is_allowed(client, namespace, right.group, right.resource, verb)]
        check = f"{namespace}: {right.resource}"
        if not refused:
            yield ok(check, f"{', '.join(right.verbs)} ({right.purpose})")
            continue
        say = warn if right.optional else failed
        rule = f"apiGroups [{right.group!r}], resources [{right.resource}], verbs [{', '.join(right.verbs)}]"
        yield say(
            check,
            f"may not {', '.join(refused)}: needed for {right.purpose}",
            f"give the service account of the workers a Role with {rule}; the chart helm/airflow-mlops makes it",
        )


def _jobs(site: Site) -> Iterator[tuple[Any, str, list[Right]]]:
    from airflow_mlops.hooks.backends import backend_settings
    from airflow_mlops.training.backends import Backend

    try:
        given, _ = backend_settings(Backend.KUBERNETES)
    except MLOpsError:
        given = {}  # the area configuration says so
    namespaces = dict.fromkeys(filter(None, (given.get("namespace"), site.namespace)))
    if namespaces:
        client = _client(site, given)
        for namespace in namespaces:
            yield client, namespace, list(rights_of_jobs())


def _client(site: Site, given: Mapping[str, Any]) -> Any:
    from airflow_mlops.hooks.cluster import ClusterAccess

    conn_id = given.get("kubernetes_conn_id")
    if conn_id is None:
        default = DEFAULT_CONNECTIONS["kubernetes"]
        conn_id = default if site.connection(default) is not None else None
    return (
        ClusterAccess(
            conn_id=conn_id,
            config_file=given.get("config_file"),
            cluster_context=given.get("cluster_context"),
            in_cluster=given.get("in_cluster"),
        )
        .hook()
        .api_client
    )


def _rollouts(site: Site) -> Iterator[tuple[Any, str, list[Right]]]:
    from airflow_mlops.hooks.gateway import ModelGatewayHook

    for conn_id in site.connections("model_gateway"):
        hook = ModelGatewayHook(conn_id)
        kind = hook.kind
        if kind.in_cluster:
            yield hook.cluster_client(), hook.namespace, list(rights_of_rollouts(kind))
