"""What operators and triggers do in a cluster; the same as the chart's Roles, which a test compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.hooks.gateway_kinds import Kind

__all__ = ["Right", "rights_of_jobs", "rights_of_rollouts"]

_ALL = ("create", "get", "list", "watch", "patch", "delete")


@dataclass(frozen=True, kw_only=True)
class Right:
    """Something that an account must be allowed to do.

    :param group: API group, empty for the core group
    :param resource: plural, perhaps with a subresource: ``pods/log``
    :param verbs: what is done with it
    :param purpose: what needs it, as people call it
    :param optional: whether only some operators need it
    """

    group: str
    resource: str
    verbs: tuple[str, ...]
    purpose: str
    optional: bool = False


def rights_of_jobs() -> Sequence[Right]:
    """Return what training and evaluation in pods need."""
    several = "trainings in several pods"
    return (
        Right(group="", resource="pods", verbs=_ALL, purpose="trainings and evaluations"),
        Right(group="", resource="pods/log", verbs=("get",), purpose="trainings and evaluations"),
        Right(group="", resource="events", verbs=("get", "list", "watch"), purpose="messages about failed pods"),
        Right(group="", resource="pods/exec", verbs=("create", "get"), purpose="warm pods", optional=True),
        Right(group="batch", resource="jobs", verbs=_ALL, purpose=several, optional=True),
        Right(group="batch", resource="jobs/status", verbs=("get",), purpose=several, optional=True),
        Right(group="", resource="services", verbs=("create", "get", "list", "delete"), purpose=several, optional=True),
    )


_ROUTES: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "gateway_api": (("gateway.networking.k8s.io", "httproutes", ("get", "patch")),),
    "istio": (("networking.istio.io", "virtualservices", ("get", "patch")),),
    "kserve": (("serving.kserve.io", "inferenceservices", ("get", "list", "patch")),),
    "argo_rollouts": (
        ("argoproj.io", "rollouts", ("get", "list", "patch")),
        ("argoproj.io", "rollouts/status", ("patch",)),
    ),
    "replica_ratio": (("", "services", ("get", "patch")), ("apps", "deployments", ("get", "list", "patch"))),
}


def rights_of_rollouts(kind: Kind) -> Sequence[Right]:
    """Return what rollouts over a kind of gateway need, model servers included where we run them."""
    purpose = "rollouts"
    leases = Right(
        group="coordination.k8s.io", resource="leases", verbs=("create", "get", "list", "patch"), purpose=purpose
    )
    routes = (
        Right(group=group, resource=resource, verbs=verbs, purpose=purpose)
        for group, resource, verbs in _ROUTES.get(kind.name, ())
    )
    servers = (
        Right(
            group="apps",
            resource="deployments",
            verbs=("create", "get", "list", "patch", "delete"),
            purpose="model servers",
        ),
        Right(group="", resource="services", verbs=("create", "get", "patch", "delete"), purpose="model servers"),
    )
    return (leases, *routes, *(servers if kind.deployments else ()))
