"""Numbers of pods as weights, over an API server in memory; tests/system has the same with a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.replica_ratio import ReplicaRatioRouter
from airflow_mlops.adapters.traffic.scaled_deployment import DEPLOYMENT
from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes
from airflow_mlops.testing.router_conformance import RouterConformance

pytest.importorskip("kubernetes")


@dataclass
class Cluster(MemoryKubernetes):
    """Its pods are ready at once, but those of Deployments that are ``stuck``."""

    stuck: set[str] = field(default_factory=set)

    def _store(self, key: str, document: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        stored = super()._store(key, document, before)
        wanted = stored.get("spec", {}).get("replicas")
        if wanted is not None:
            had = (before.get("status") or {}).get("availableReplicas", 0)
            stored["status"] = {
                "observedGeneration": stored["metadata"]["generation"],
                "replicas": wanted,
                "updatedReplicas": wanted,
                "availableReplicas": min(had, wanted) if stored["metadata"]["name"] in self.stuck else wanted,
            }
        return stored


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def objects(cluster: Cluster) -> KubernetesObjects:
    return KubernetesObjects(cluster, "models")


@pytest.fixture
def deploy(objects: KubernetesObjects) -> Callable[..., None]:
    def create(name: str) -> None:
        template = {"metadata": {"labels": {"app": name}}, "spec": {}}
        objects.create(DEPLOYMENT, {"metadata": {"name": name}, "spec": {"replicas": 0, "template": template}})

    return create


@pytest.fixture
def counts(objects: KubernetesObjects) -> Callable[[], dict[str, int]]:
    return lambda: {one["metadata"]["name"]: one["spec"]["replicas"] for one in objects.list(DEPLOYMENT, {})}


class TestReplicaRatio(RouterConformance):
    @pytest.fixture
    def router(
        self, objects: KubernetesObjects, deploy: Callable[..., None], targets: Mapping[str, int]
    ) -> ReplicaRatioRouter:
        for name in targets:
            deploy(name)
        return ReplicaRatioRouter(objects)

    @pytest.fixture
    def another_hand(self, objects: KubernetesObjects, names: tuple[str, str, str]) -> Callable[[str], None]:
        scaled = {"op": "replace", "path": "/spec/replicas", "value": 7}
        return lambda _: objects.change(DEPLOYMENT, names[1], lambda _: [scaled]) and None


@pytest.fixture
def router(objects: KubernetesObjects, deploy: Callable[..., None]) -> ReplicaRatioRouter:
    """A route of which m-v1 has all, and m-v2 nothing yet."""
    for name in ("m-v1", "m-v2"):
        deploy(name)
    router = ReplicaRatioRouter(objects, total_replicas=20, ready_seconds=0.0, give_back_seconds=0.0)
    router.ensure_targets("m", {"m-v1": 8080, "m-v2": 8080}, fencing_token=1)
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=1)
    return router


def test_weights_are_numbers_of_pods(router: ReplicaRatioRouter, counts: Callable[[], dict[str, int]]) -> None:
    assert counts() == {"m-v1": 20, "m-v2": 0}
    # Pods come before others go, so it takes two looks.
    with pytest.raises(TransientAdapterError, match="pods that shall go are still there after 0 s"):
        router.set_weights("m", {"m-v1": 95, "m-v2": 5}, fencing_token=1, expected_generation=2)
    assert counts() == {"m-v1": 20, "m-v2": 1}
    view = router.set_weights("m", {"m-v1": 95, "m-v2": 5}, fencing_token=1, expected_generation=3)
    assert counts() == {"m-v1": 19, "m-v2": 1}
    assert view.applied
    assert router.verify("m") == "ok"


def test_a_repaired_write_goes_on_where_it_was_left(
    router: ReplicaRatioRouter, cluster: Cluster, counts: Callable[[], dict[str, int]]
) -> None:
    """Whatever request dies, doing the same again ends at the same numbers."""
    for position in range(4, 40):
        left = position

        def fault(moment: str, method: str, path: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise TransientAdapterError(f"{moment} {method} {path}")

        cluster.fault = fault
        for _ in range(3):
            try:
                view = router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=None)
            except TransientAdapterError:
                continue
        cluster.fault = None
        view = router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=None)
        assert (counts(), view.foreign_edits) == ({"m-v1": 10, "m-v2": 10}, ())
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
        assert counts() == {"m-v1": 20, "m-v2": 0}


def test_a_target_that_leaves_keeps_nothing_of_the_route(
    router: ReplicaRatioRouter, objects: KubernetesObjects
) -> None:
    def traces() -> str:
        return str(objects.get(DEPLOYMENT, "m-v2"))

    assert "mlops.airflow.apache.org/route" in traces()
    router.remove_target("m", "m-v2")
    assert "mlops.airflow.apache.org" not in traces()
    assert router.remove_target("nobody", "m-v2").generation == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"total_replicas": 3},
            "total_replicas: 3 is not accepted; expected a number of pods that can be shared out",
        ),
        ({"total_replicas": 0}, "total_replicas: 0 is not accepted; expected a whole number of pods, 1 to 1000"),
        ({"total_replicas": "10"}, "total_replicas: '10' is not accepted"),
        ({"ready_seconds": -1}, "ready_seconds: -1 is not accepted; expected 0 or more seconds"),
        ({"give_back_seconds": "soon"}, "give_back_seconds: 'soon' is not accepted"),
    ],
)
def test_wrong_options_are_named(objects: KubernetesObjects, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        ReplicaRatioRouter(objects, **options)
