"""Numbers of pods as weights: in a real API server with its controllers, and under traffic to real pods."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.replica_ratio import ReplicaRatioRouter
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.ports import CoarseRouter
from airflow_mlops.testing.router_conformance import RouterConformance
from tests.system.kubernetes.servers import Clients, PretendedPods, server_spec, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

LABEL = "mlops.airflow.apache.org/route"
BOTH = {"m-v1": 8080, "m-v2": 8080}


def router_of(cluster: Any, **options: Any) -> ReplicaRatioRouter:
    return ReplicaRatioRouter(KubernetesObjects(cluster.api.api_client, cluster.namespace), **options)


class TestReplicaRatio(RouterConformance):
    """The behaviours of every router, with pods that are called ready."""

    @pytest.fixture
    def router(self, cluster: Any, pretended: PretendedPods, targets: Mapping[str, int]) -> ReplicaRatioRouter:
        for name in targets:
            pretended.deploy(name)
        return router_of(cluster)

    @pytest.fixture
    def another_hand(self, pretended: PretendedPods, names: tuple[str, str, str]) -> Callable[[str], None]:
        return lambda _route: pretended.scale(names[1], 7)


@pytest.fixture
def router(cluster: Any, pretended: PretendedPods) -> ReplicaRatioRouter:
    """A route of which m-v1 has all, and m-v2 nothing yet."""
    for name in BOTH:
        pretended.deploy(name)
    router = router_of(cluster, ready_seconds=2.0, give_back_seconds=0.5)
    router.ensure_targets("m", BOTH, fencing_token=1)
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=1)
    return router


def test_the_router_says_before_a_rollout_what_it_cannot_make(router):
    assert isinstance(router, CoarseRouter)
    with pytest.raises(SpecificationError, match=r"10 pods can make.*the nearest are 0 % and 10 %"):
        router.check_weights({"m-v2": 5, "m-v1": 95})
    with pytest.raises(SpecificationError, match=r"the nearest are 20 % and 30 %"):
        router.set_weights("m", {"m-v2": 25, "m-v1": 75}, fencing_token=1, expected_generation=2)
    assert dict(router.observe("m").weights) == {"m-v1": 100}


def test_pods_that_never_get_ready_get_no_traffic_and_take_none_away(router, pretended):
    pretended.stuck.add("m-v2")
    with pytest.raises(TransientAdapterError, match="m-v2 has 0 of 5 pods ready after 2 s; other pods still have"):
        router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=2)
    assert pretended.counts() == {"m-v1": 10, "m-v2": 5}
    assert router.verify("m") == "pending"
    assert not router.observe("m").applied
    # Going on where it was left, now with pods that work.
    pretended.stuck.clear()
    view = router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=3)
    assert (view.generation, view.applied) == (3, True)
    assert router.verify("m") == "ok"
    assert pretended.counts() == {"m-v1": 5, "m-v2": 5}


def test_traffic_goes_back_although_its_pods_are_slow(router, pretended):
    router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=2)
    pretended.stuck.add("m-v1")
    view = router.set_weights("m", {"m-v1": 100}, fencing_token=2, expected_generation=None)
    assert pretended.counts() == {"m-v1": 10}
    assert dict(view.weights) == {"m-v1": 100}
    assert router.verify("m") == "pending"


def test_the_last_pods_that_answer_stay_while_there_is_none_to_go_back_to(router, pretended):
    router.set_weights("m", {"m-v2": 100}, fencing_token=1, expected_generation=2)
    pretended.stuck.add("m-v1")
    with pytest.raises(TransientAdapterError, match="m-v1 has 0 of 10 pods ready"):
        router.set_weights("m", {"m-v1": 100}, fencing_token=2, expected_generation=None)
    assert pretended.counts() == {"m-v1": 10, "m-v2": 10}


def test_a_writer_that_lost_its_lease_meanwhile_moves_nothing_more(router, cluster, pretended):
    late = router_of(
        cluster,
        # While it waits for pods, another holder gives the traffic back.
        pause=lambda _: router.set_weights("m", {"m-v1": 100}, fencing_token=2, expected_generation=None) and None,
    )
    pretended.stuck.add("m-v2")
    with pytest.raises(StaleWriteError, match="somebody else set weights while the pods for these were awaited"):
        late.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=2)
    assert pretended.counts() == {"m-v1": 10}


def test_deployments_that_serve_already_are_taken_over_with_their_shares(cluster, pretended):
    pretended.deploy("m-v1", replicas=4, model="m")
    pretended.deploy("m-v2", replicas=0, model="m")
    pretended.serve("m", model="m")
    router = router_of(cluster)
    view = router.observe("m")
    assert (view.generation, dict(view.weights), dict(view.targets)) == (0, {"m-v1": 100}, {"m-v1": 8080})
    router.ensure_targets("m", {"m-v2": 8080}, fencing_token=1)
    assert pretended.counts() == {"m-v1": 4}
    router.set_weights("m", {"m-v1": 80, "m-v2": 20}, fencing_token=1, expected_generation=1)
    assert pretended.counts() == {"m-v1": 8, "m-v2": 2}


def test_pods_behind_the_service_that_nobody_knows_are_a_foreign_edit(router, pretended):
    pretended.deploy("stranger", replicas=3, **{LABEL: "m"})
    assert router.observe("m").foreign_edits == (
        "Deployment stranger, no target of the route, is behind its Service with 3 pods",
    )
    with pytest.raises(StaleWriteError, match="somebody else changed it: Deployment stranger"):
        router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=2)


def test_pods_of_somebody_else_are_not_relabelled(router, pretended):
    pretended.deploy("database", replicas=1)
    with pytest.raises(PermanentAdapterError, match=rf"not behind route 'm': they lack the labels {LABEL}=m. Scale it"):
        router.ensure_targets("m", {"database": 8080}, fencing_token=1)
    assert pretended.counts() == {"m-v1": 10, "database": 1}
    with pytest.raises(PermanentAdapterError, match=r"there is no Deployment mlops-test-.*/nobody"):
        router.ensure_targets("m", {"nobody": 8080}, fencing_token=1)
    with pytest.raises(PermanentAdapterError, match="Deployment m-v1 is a target of route 'm'; take it off there"):
        router.ensure_targets("other", {"m-v1": 8080}, fencing_token=1)


def pods_of(cluster: Any, name: str) -> set[str]:
    """Uids of the running pods of a server."""
    return {
        pod.metadata.uid
        for pod in cluster.pods()
        if pod.metadata.labels.get("airflow-mlops/server") == name and pod.metadata.deletion_timestamp is None
    }


def test_shares_follow_the_weights_under_traffic_and_no_request_fails(cluster, fleet):
    servers, router = fleet(), router_of(cluster)
    for version in "12":
        servers.ensure(server_spec(version))
    for version in "12":
        until(lambda name=f"flights-v{version}": servers.status(name).phase == "ready")
    router.ensure_targets("flights", {"flights-v1": 8080, "flights-v2": 8080}, fencing_token=1)
    view = router.set_weights("flights", {"flights-v1": 100}, fencing_token=1, expected_generation=1)
    served = cluster.api.read_namespaced_service("flights", cluster.namespace)
    halves = set()
    with Clients(served.spec.cluster_ip, 8080) as clients:
        for share in (0, 10, 50, 100):
            began = time.time()
            weights = {"flights-v1": 100 - share, "flights-v2": share}
            view = router.set_weights("flights", weights, fencing_token=1, expected_generation=view.generation)
            assert router.verify("flights") == "ok"
            moved = time.time() - began
            time.sleep(1.5)  # until every node has heard
            seen = clients.watch(5.0)
            total = sum(seen.values())
            print(f"{share} %: {dict(seen)} in 5 s; the move took {moved:.1f} s; failures {len(clients.failures)}")
            assert total > 150
            # Each connection goes to any pod with equal chance: four standard errors of a binomial share.
            expected = share / 100
            tolerance = 4 * (expected * (1 - expected) / total) ** 0.5
            assert abs(seen["flights-v2"] / total - expected) <= tolerance
            if share == 50:
                halves = pods_of(cluster, "flights-v2")
    assert clients.failures == []
    # Promotion made new pods beside those that served; it made none of them anew.
    assert len(halves) == 5
    assert halves < pods_of(cluster, "flights-v2")
    assert servers.status("flights-v1").message == "route 'flights' decides how many pods it has; now none"
    router.remove_target("flights", "flights-v1")
    servers.remove("flights-v1")
    assert list(servers.list()) == ["flights-v2"]
