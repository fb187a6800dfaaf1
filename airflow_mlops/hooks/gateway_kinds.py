"""The kinds of gateways: which router, store and fleet belong to each; a new one is one entry here.

Imports nothing but what decides, so that the watchdog of a cluster reads the same list without Airflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
    from airflow_mlops.rollout.ports import RolloutStore, Router

__all__ = ["KINDS", "Kind", "kind_named"]

_NAME = "name of a route's object, in which {route} stands for the route; {route} is the default"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of gateway.

    :param name: what the connection's ``kind`` says
    :param title: what moves the traffic, for a person
    :param router: ``module:class`` of the router; in a cluster made from the namespace's objects and the options
    :param options: connection extras that a cluster's router takes as keyword arguments, name to meaning
    :param in_cluster: whether routes are Kubernetes objects; their rollouts are then kept in Leases
    :param deployments: whether model servers are Deployments that we make; otherwise others run them
    :param metrics: the source of measurements, unless the connection names one
    :param series: what Prometheus' series are called, unless the connection says
    """

    name: str
    title: str
    router: str
    options: Mapping[str, str] = field(default_factory=dict)
    in_cluster: bool = True
    deployments: bool = True
    metrics: str = "prometheus"
    series: str = "model_server"

    def router_class(self) -> Any:
        """Return the class of the router."""
        module, _, name = self.router.partition(":")
        return getattr(import_module(module), name)

    def cluster_router(self, objects: KubernetesObjects, options: Mapping[str, Any]) -> Router:
        """Return the router of a namespace.

        :param options: some of :attr:`options`
        """
        router: Router = self.router_class()(objects, **options)
        return router

    def cluster_store(self, objects: KubernetesObjects) -> RolloutStore:
        """Return where rollouts of a namespace are kept."""
        from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore

        return LeaseRolloutStore(objects, kind=self.name)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(
                name="envoy",
                title="an Envoy that is steered by files",
                router="airflow_mlops.adapters.traffic.envoy_files:EnvoyFilesRouter",
                in_cluster=False,
                deployments=False,
                metrics="envoy",
                series="envoy",
            ),
            Kind(
                name="gateway_api",
                title="an HTTPRoute of the Gateway API",
                router="airflow_mlops.adapters.traffic.gateway_api:GatewayApiRouter",
                options={
                    "name": _NAME,
                    "rule": "name of the HTTPRoute's rule to steer; needed where more than one could be meant",
                    "reports_status": "true or false: whether the gateway writes the HTTPRoute's status; true is the "
                    "default",
                },
            ),
            Kind(
                name="replica_ratio",
                title="numbers of pods behind a Service",
                router="airflow_mlops.adapters.traffic.replica_ratio:ReplicaRatioRouter",
                options={
                    "name": "name of a route's Service, in which {route} stands for the route; {route} is the default",
                    "total_replicas": "pods that a route has in all, which make its steps: 10, the default, make 10 %",
                    "ready_seconds": "how long new pods may take, 120 by default",
                    "give_back_seconds": "how long other pods still serve when all traffic goes back, 15 by default",
                },
            ),
            Kind(
                name="istio",
                title="a VirtualService of Istio",
                router="airflow_mlops.adapters.traffic.istio:IstioRouter",
                options={
                    "name": _NAME,
                    "http_route": "name of the VirtualService's HTTP route to steer, {route} by default",
                    "host": "host of a target's destination, in which {target} stands for the target and {route} for "
                    "the route; {target} is the default",
                    "subset": "subset of a target's destination, usually {target}, where targets share one host",
                    "reports_status": "true or false: whether Istio says in the condition Reconciled how far its "
                    "proxies follow; false is the default",
                },
                series="istio",
            ),
            Kind(
                name="kserve",
                title="an InferenceService of KServe",
                router="airflow_mlops.adapters.traffic.kserve:KServeRouter",
                options={
                    "name": _NAME,
                    "mode": "standard or knative; without it the annotation serving.kserve.io/deploymentMode says, "
                    "else the status",
                },
                deployments=False,
            ),
            Kind(
                name="argo_rollouts",
                title="a Rollout of Argo Rollouts",
                router="airflow_mlops.adapters.traffic.argo_rollouts:ArgoRolloutsRouter",
                options={"name": _NAME},
                deployments=False,
            ),
        )
    }
)


def kind_named(name: Any, *, field_name: str = "kind") -> Kind:
    """Return a kind.

    :raises SpecificationError: if there is none of this name
    """
    if not isinstance(name, str) or name not in KINDS:
        raise SpecificationError(field_name, name, f"one of {', '.join(KINDS)}")
    return KINDS[name]
