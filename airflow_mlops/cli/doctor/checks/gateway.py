"""Whether gateways answer, and whether there are the measurements that a rollout goes by."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import MLOpsError

if TYPE_CHECKING:
    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.rollout.observation import RouteView

__all__ = ["gateways", "metrics"]

_CONNECT_SECONDS = 3.0


def gateways(site: Site) -> Iterator[Finding]:
    """Say of each gateway whether clients reach it, and what its routes are."""
    for conn_id, hook in _hooks(site):
        try:
            yield _endpoint(conn_id, hook)
            views = _routes(hook)
        except MLOpsError as error:
            yield failed(conn_id, str(error), f"correct the connection {conn_id}, or start the gateway")
            continue
        if not views:
            yield note(f"{conn_id} routes", "no route has or had a rollout yet")
        for view in views:
            yield from _route(conn_id, view)
    if not site.connections("model_gateway"):
        yield note("gateway", "no connection leads to a gateway: rollouts cannot run")


def _hooks(site: Site) -> Iterator[tuple[str, ModelGatewayHook]]:
    from airflow_mlops.hooks.gateway import ModelGatewayHook

    for conn_id in site.connections("model_gateway"):
        yield conn_id, ModelGatewayHook(conn_id)


def _endpoint(conn_id: str, hook: ModelGatewayHook) -> Finding:
    parts = urlsplit(hook.endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_SECONDS):
            return ok(
                f"{conn_id} endpoint", f"something listens at {parts.hostname}:{port}, where predictions are asked for"
            )
    except OSError as error:
        return warn(
            f"{conn_id} endpoint",
            f"nothing listens at {parts.hostname}:{port}, where predictions are asked for ({error})",
            "correct host and port of the connection; rollouts need them only for links and checks of model servers",
        )


def _routes(hook: ModelGatewayHook) -> list[RouteView]:
    router = hook.router()
    return [router.observe(route) for route in hook.store().routes()]


def _route(conn_id: str, view: RouteView) -> Iterator[Finding]:
    weights = ", ".join(f"{name} {weight} %" for name, weight in view.weights.items()) or "nothing"
    check = f"{conn_id} route {view.route}"
    if view.foreign_edits:
        yield warn(
            check,
            f"{weights}; somebody else changed it: {'; '.join(view.foreign_edits)}",
            "a rollout respects that and stops; put the route back, or begin a new rollout",
        )
    elif not view.weights:
        yield warn(check, "no target has weight, so requests get no answer", "release a model on this route")
    else:
        yield ok(check, weights)


def metrics(site: Site) -> Iterator[Finding]:
    """Ask the source of each gateway for the counters of what serves, as a rollout does."""
    for conn_id, hook in _hooks(site):
        try:
            yield from _counters(conn_id, hook)
        except MLOpsError as error:
            yield failed(
                conn_id, str(error), "without measurements a rollout holds and goes back; see docs/metric-sources.md"
            )
    if not site.connections("model_gateway"):
        yield note("metrics", "no connection leads to a gateway, whose extra `metrics` would name the source")


def _counters(conn_id: str, hook: ModelGatewayHook) -> Iterator[Finding]:
    targets = sorted({name for view in _routes(hook) for name, weight in view.weights.items() if weight})
    source = hook.metrics()
    found = source.read(targets or ["doctor-v0"], slow_ms=None)
    if not targets:
        yield ok(conn_id, "the source answers; nothing serves whose series could be looked for")
    for target in targets:
        counted = found.get(target)
        if counted is None:
            yield warn(
                f"{conn_id} {target}",
                "it serves, but the source has no series of it: a rollout would hold and then go back",
                "let the source scrape it, and correct series, labels and target in the extra `metrics`; "
                "a server that was asked nothing yet has no series either",
            )
        else:
            yield ok(f"{conn_id} {target}", f"{counted.requests:,} requests, {counted.errors:,} errors")
