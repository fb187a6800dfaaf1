"""Watches the rollouts of a namespace from outside of Airflow; see :mod:`airflow_mlops.rollout.watchdog`.

A CronJob of the Helm chart runs it: ``python -m airflow_mlops.cli.cluster_watchdog --kind gateway_api --namespace
models`` looks once and ends with status 1 if a route cannot be watched. It needs neither Airflow nor its database, but
the client library of Kubernetes and the rights to ``get``, ``list`` and ``patch`` Leases and the kind's routed objects.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects, connect
from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.hooks.gateway_kinds import KINDS, Kind, kind_named
from airflow_mlops.rollout.watchdog import return_expired

__all__ = ["look", "main"]

_LOG = logging.getLogger(__name__)


def look(kind: Kind, objects: KubernetesObjects, options: Mapping[str, Any] | None = None) -> list[str]:
    """Look once at all rollouts of a kind in a namespace; return what was done.

    :param options: of the kind's router
    :raises SpecificationError: if the kind's routes are in no cluster
    :raises MLOpsError: if a route cannot be watched; the others were
    """
    if not kind.in_cluster:
        among = ", ".join(name for name, one in KINDS.items() if one.in_cluster)
        raise SpecificationError("kind", kind.name, f"a kind of gateway in a cluster: {among}")
    router, store = kind.cluster_router(objects, options or {}), kind.cluster_store(objects)
    done, failed = [], []
    for route in store.routes():
        try:
            said = return_expired(route, router=router, store=store, clock=SystemClock())
        except MLOpsError as error:
            # One damaged route must not keep the others from being watched; the next look tries again.
            _LOG.error("route %s cannot be watched: %s", route, error)
            failed.append(route)
            continue
        if said is not None:
            _LOG.warning("%s", said)
            done.append(said)
    if failed:
        raise MLOpsError(f"not watched: {'; '.join(failed)}")
    return done


def main(arguments: Sequence[str] | None = None) -> int:
    """Look once, say what was done, and return the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m airflow_mlops.cli.cluster_watchdog", description=main.__doc__)
    parser.add_argument("--kind", required=True, help="kind of gateway, as in Airflow's connection")
    parser.add_argument("--namespace", required=True, help="namespace of routes and rollouts")
    parser.add_argument("--router", default="{}", help="options of the router, as JSON, as in Airflow's connection")
    parser.add_argument("--kubeconfig", help="path of a kubeconfig; without one the pod's service account is used")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        kind = kind_named(options.kind, field_name="--kind")
        router = _router_options(options.router, kind)
        client = connect(kubeconfig=options.kubeconfig, in_cluster=options.kubeconfig is None)
        done = look(kind, KubernetesObjects(client, options.namespace), router)
    except (MLOpsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if not done:
        print("every rollout is decided or still judged")
    return 0


def _router_options(text: str, kind: Kind) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if not isinstance(found, dict) or not set(found) <= set(kind.options):
        raise SpecificationError("--router", text, f"a JSON object with options among {', '.join(kind.options)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
