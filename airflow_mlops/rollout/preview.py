"""What a rollout would do, before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_mlops.exceptions import LeaseHeldError, SpecificationError
from airflow_mlops.rollout.describe import describe_spec
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.plan import Plan, describe
from airflow_mlops.rollout.ports import ServerFleet
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.start import require_one_age
from airflow_mlops.rollout.state import begin, stable_target
from airflow_mlops.rollout.step import step

__all__ = ["Preview", "preview", "tell"]


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a rollout would do if it began now.

    :param route: the route, which is the model's name
    :param candidate: target that shall take over
    :param stable: target that it would be compared with; None if nothing serves yet
    :param weights: target to percent as the route says it now
    :param spec: the rules
    :param first: what it would do first
    :param obstacles: why it would not begin now, one sentence each
    """

    route: str
    candidate: str
    stable: str | None
    weights: Mapping[str, int]
    spec: RolloutSpec
    first: Plan
    obstacles: tuple[str, ...]


def preview(gateway: Gateway, fleet: ServerFleet, *, route: str, candidate: str, spec: RolloutSpec) -> Preview:
    """Read what a rollout would find, and return what it would do; writes nothing.

    :param candidate: name of the model server that shall take over
    """
    lease, view, now = gateway.store.load(route), gateway.router.observe(route), gateway.clock.now()
    obstacles = []
    if lease is not None and lease.holder and lease.expires_at > now:
        obstacles.append(str(LeaseHeldError(route, lease.holder)))
    status = fleet.status(candidate)
    if status is None:
        obstacles.append(f"model server {candidate!r} is not known; start it before its rollout")
    elif status.phase != "ready":
        obstacles.append(f"model server {candidate!r} is {status.phase}, not ready: {status.message}")
    try:
        require_one_age(gateway.metrics, spec)
    except SpecificationError as error:
        obstacles.append(str(error))
    obstacles.extend(view.foreign_edits)
    previous = None if lease is None else lease.state or lease.previous
    stable = stable_target(view.weights, previous, candidate)
    state = begin(spec=spec, model_name=route, candidate=candidate, stable=stable, now=now)
    seen = gateway.observe(state)
    if seen.problem:
        obstacles.append(f"no measurements: {seen.problem}")
    _, first = step(state, seen, now)
    return Preview(
        route=route,
        candidate=candidate,
        stable=stable,
        weights=dict(view.weights),
        spec=spec,
        first=first,
        obstacles=tuple(obstacles),
    )


def tell(found: Preview) -> list[str]:
    """Return a preview as lines for a person."""
    now = ", ".join(f"{name} {weight} %" for name, weight in found.weights.items()) or "nothing serves"
    lines = [f"route {found.route}, now {now}: {found.candidate} beside {found.stable or 'nothing'}"]
    lines.append(f"first: {describe(found.first)}")
    if found.stable not in (None, found.candidate):
        lines += describe_spec(found.spec).splitlines()
    lines += [f"it would not begin now: {reason}" for reason in found.obstacles]
    return lines
