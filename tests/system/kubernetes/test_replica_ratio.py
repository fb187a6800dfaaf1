"""Numbers of pods as weights: in a real API server with its controllers, and under traffic to real pods."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.serving.deployments import DeploymentFleet
from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore
from airflow_mlops.adapters.traffic.replica_ratio import ReplicaRatioRouter
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.ports import CoarseRouter, Router
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.start import start
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics
from airflow_mlops.testing.router_conformance import RouterConformance
from tests.prometheus import SCRAPE_SECONDS, prometheus_server
from tests.system.kubernetes.servers import Clients, Discovery, PretendedPods, client_with, server_spec, until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

# As the adapters' docstrings and docs/routers.md say.
FLEET_RIGHTS = {
    "apps/deployments": ["get", "list", "create", "patch", "delete"],
    "services": ["get", "create", "delete"],
    "pods": ["list"],
}
ROUTER_RIGHTS = {"services": ["get", "create", "patch"], "apps/deployments": ["get", "list", "patch"]}
LABEL = "mlops.airflow.apache.org/route"


def router_of(pretended: PretendedPods, **options: Any) -> ReplicaRatioRouter:
    objects = KubernetesObjects(pretended.client, pretended.namespace)
    return ReplicaRatioRouter(objects, pause=lambda _: time.sleep(0.1), **options)


@pytest.fixture
def route() -> str:
    return f"m{uuid.uuid4().hex[:8]}"


class TestReplicaRatio(RouterConformance):
    """The behaviours of every router, with pods that are called ready."""

    @pytest.fixture
    def route(self) -> str:
        return f"m{uuid.uuid4().hex[:8]}"

    @pytest.fixture
    def other_route(self, route: str) -> str:
        return f"{route}-other"

    @pytest.fixture
    def targets(self, route: str) -> Mapping[str, int]:
        return {f"{route}-v{version}": 8080 + version for version in (1, 2, 3)}

    @pytest.fixture
    def router(self, pretended: PretendedPods, targets: Mapping[str, int]) -> ReplicaRatioRouter:
        for name in targets:
            pretended.deploy(name)
        return router_of(pretended)

    @pytest.fixture
    def another_hand(self, pretended: PretendedPods, names: tuple[str, str, str]) -> Callable[[str], None]:
        return lambda _route: pretended.scale(names[1], 7)


@dataclass
class Split:
    """A route of four pods; the first of two targets has them all."""

    pretended: PretendedPods
    route: str

    def __post_init__(self) -> None:
        self.old, self.new = f"{self.route}-v1", f"{self.route}-v2"
        self.router = router_of(self.pretended, total_replicas=4)
        for name in (self.old, self.new):
            self.pretended.deploy(name)
        self.router.ensure_targets(self.route, {self.old: 8080, self.new: 8080}, fencing_token=1)
        self.give(0, 1)

    def give(self, share: int, generation: int | None, *, token: int = 1, router: Router | None = None) -> RouteView:
        """Give the second target a share."""
        return (router or self.router).set_weights(
            self.route,
            {self.old: 100 - share, self.new: share},
            fencing_token=token,
            expected_generation=generation,
        )

    @property
    def pods(self) -> list[int]:
        return self.pretended.counts(self.old, self.new)


@pytest.fixture
def split(pretended: PretendedPods, route: str) -> Split:
    return Split(pretended, route)


def test_the_router_says_before_a_rollout_what_it_cannot_make(split: Split) -> None:
    assert isinstance(split.router, CoarseRouter)
    with pytest.raises(SpecificationError, match=r"4 pods can make.*the nearest are 0 % and 25 %"):
        split.router.check_weights({split.new: 5, split.old: 95})
    with pytest.raises(SpecificationError, match=r"a multiple of 25 %; the nearest are"):
        split.give(30, 2)
    assert dict(split.router.observe(split.route).weights) == {split.old: 100}


def test_pods_that_never_get_ready_get_no_traffic_and_take_none_away(split: Split) -> None:
    split.pretended.stuck.add(split.new)
    with pytest.raises(TransientAdapterError, match=r"v2 has 0 of 2 pods ready after \d s; other pods still have"):
        split.give(50, 2, router=router_of(split.pretended, total_replicas=4, ready_seconds=1.0))
    assert split.pods == [4, 2]
    assert split.router.verify(split.route) == "pending"
    assert not split.router.observe(split.route).applied
    # Going on where it was left, now with pods that work.
    split.pretended.stuck.clear()
    view = split.give(50, 3)
    assert (view.generation, view.applied, split.router.verify(split.route)) == (3, True, "ok")
    assert split.pods == [2, 2]


def test_traffic_goes_back_although_its_pods_are_slow(split: Split) -> None:
    split.give(50, 2)
    split.pretended.stuck.add(split.old)
    view = split.give(0, None, token=2, router=router_of(split.pretended, total_replicas=4, give_back_seconds=0.5))
    assert split.pods == [4, 0]
    assert dict(view.weights) == {split.old: 100}
    assert split.router.verify(split.route) == "pending"


def test_the_last_pods_that_answer_stay_while_there_is_none_to_go_back_to(split: Split) -> None:
    split.give(100, 2)
    split.pretended.stuck.add(split.old)
    hasty = router_of(split.pretended, total_replicas=4, ready_seconds=1.0, give_back_seconds=0.0)
    with pytest.raises(TransientAdapterError, match="v1 has 0 of 4 pods ready"):
        split.give(0, None, token=2, router=hasty)
    assert split.pods == [4, 4]


def test_a_writer_that_lost_its_lease_meanwhile_moves_nothing_more(split: Split) -> None:
    objects = KubernetesObjects(split.pretended.client, split.pretended.namespace)
    # While it waits for pods, another holder gives the traffic back.
    late = ReplicaRatioRouter(objects, total_replicas=4, pause=lambda _: split.give(0, None, token=2) and None)
    split.pretended.stuck.add(split.new)
    with pytest.raises(StaleWriteError, match="somebody else set weights while the pods for these were awaited"):
        split.give(50, 2, router=late)
    assert split.pods == [4, 0]


def test_deployments_that_serve_already_are_taken_over_with_their_shares(pretended: PretendedPods, route: str) -> None:
    old, new = f"{route}-v1", f"{route}-v2"
    pretended.deploy(old, replicas=3, model=route)
    pretended.deploy(new, replicas=0, model=route)
    pretended.serve(route, model=route)
    router = router_of(pretended, total_replicas=4)
    view = router.observe(route)
    assert (view.generation, dict(view.weights), dict(view.targets)) == (0, {old: 100}, {old: 8080})
    router.ensure_targets(route, {new: 8080}, fencing_token=1)
    assert pretended.counts(old, new) == [3, 0]
    router.set_weights(route, {old: 75, new: 25}, fencing_token=1, expected_generation=1)
    assert pretended.counts(old, new) == [3, 1]


def test_pods_behind_the_service_that_nobody_knows_are_a_foreign_edit(split: Split) -> None:
    stranger = f"{split.route}-stranger"
    split.pretended.deploy(stranger, replicas=1, **{LABEL: split.route})
    assert split.router.observe(split.route).foreign_edits == (
        f"Deployment {stranger}, no target of the route, is behind its Service with 1 pods",
    )
    with pytest.raises(StaleWriteError, match=f"somebody else changed it: Deployment {stranger}"):
        split.give(50, 2)


def test_pods_of_somebody_else_are_not_relabelled(split: Split) -> None:
    database = f"{split.route}-database"
    split.pretended.deploy(database, replicas=1)
    with pytest.raises(PermanentAdapterError, match=rf"are not behind route .*: they lack the labels {LABEL}=.* Scale"):
        split.router.ensure_targets(split.route, {database: 8080}, fencing_token=1)
    assert split.pretended.counts(database) == [1]
    with pytest.raises(PermanentAdapterError, match=r"there is no Deployment mlops-test-.*/nobody"):
        split.router.ensure_targets(split.route, {"nobody": 8080}, fencing_token=1)
    with pytest.raises(PermanentAdapterError, match=r"v1 is a target of route .*; take it off there first"):
        split.router.ensure_targets("other", {split.old: 8080}, fencing_token=1)


def pretended_servers(pretended: PretendedPods) -> FleetSettings:
    """Servers that no node takes, for the test to call ready."""
    return FleetSettings(
        namespace=pretended.namespace,
        image="none",
        node_selector={"mlops-test/none": "true"},
        labels={"app": "pretended"},
        settle_seconds=0,
        drain_seconds=0,
    )


def test_a_rollout_whose_lease_ends_goes_back_with_capacity_first(pretended: PretendedPods, route: str) -> None:
    """Servers, route and state of a rollout, all of them objects of the cluster."""
    clock = ManualClock()
    objects = KubernetesObjects(pretended.client, pretended.namespace)
    settings = pretended_servers(pretended)
    servers, store = DeploymentFleet(pretended.client, settings), LeaseRolloutStore(objects, kind="k", clock=clock)
    router = router_of(pretended)
    gateway = Gateway(router=router, store=store, metrics=MemoryMetrics(), clock=clock)
    old, new = f"{route}-v1", f"{route}-v2"
    for version, name in (("1", old), ("2", new)):
        servers.ensure(server_spec(version, route))
        until(lambda server=name: servers.status(server).phase == "ready")
    router.ensure_targets(route, {old: 8080}, fencing_token=0)
    router.set_weights(route, {old: 100}, fencing_token=0, expected_generation=1)

    def begin(*shares: int) -> RolloutState:
        lease = store.acquire(route, "somebody", lease_seconds=60)
        spec = RolloutSpec(steps=tuple(CanaryStep(weight_percent=share) for share in shares))
        state = start(gateway, servers, lease, route=route, candidate=new, spec=spec)
        gateway.apply(state, token=lease.token)
        return state

    with pytest.raises(SpecificationError, match="10 pods can make, a multiple of 10 %; the nearest are 20 % and 30 %"):
        begin(10, 25)
    assert pretended.counts(old, new) == [10, 1]  # the candidate still waits outside the route
    begin(20, 50)
    assert pretended.counts(old, new) == [8, 2]
    assert dict(router.observe(route).weights) == {old: 80, new: 20}
    # Nobody judges any more.
    clock.advance(61)
    said = return_expired(route, router=router, store=store, clock=clock)
    assert said is not None
    assert said.startswith(f"all traffic of {route} went back to {old}")
    assert pretended.counts(old, new) == [10, 0]
    assert router.observe(route).foreign_edits == ()
    # Its pods are gone, so nobody could check it; another try begins with a server that is started anew.
    with pytest.raises(PermanentAdapterError, match=r"has no pods: it is a target of route .* stop it first"):
        servers.ensure(server_spec("2", route))


def test_the_rights_that_the_documents_name_are_enough(pretended: PretendedPods, route: str) -> None:
    old, new = f"{route}-v1", f"{route}-v2"
    with (
        client_with(pretended, FLEET_RIGHTS) as for_servers,
        client_with(pretended, ROUTER_RIGHTS) as for_routes,
        client_with(pretended, ROUTER_RIGHTS | {"apps/deployments": ["get"]}) as too_few,
    ):
        servers = DeploymentFleet(for_servers, pretended_servers(pretended))
        router = ReplicaRatioRouter(KubernetesObjects(for_routes, pretended.namespace), total_replicas=2)
        for version, name in (("1", old), ("2", new)):
            servers.ensure(server_spec(version, route))
            until(lambda server=name: servers.status(server).phase == "ready")
        view = router.ensure_targets(route, {old: 8080, new: 8080}, fencing_token=1)
        view = router.set_weights(route, {old: 100}, fencing_token=1, expected_generation=view.generation)
        router.set_weights(route, {old: 50, new: 50}, fencing_token=1, expected_generation=view.generation)
        router.set_weights(route, {old: 100}, fencing_token=1, expected_generation=None)
        router.remove_target(route, new)
        servers.remove(new)
        assert [name for name in servers.list() if name.startswith(route)] == [old]
        limited = ReplicaRatioRouter(KubernetesObjects(too_few, pretended.namespace), total_replicas=2)
        with pytest.raises(PermanentAdapterError, match=r"GET Deployment .*403 Forbidden.* cannot list resource"):
            limited.observe(route)


def pods_of(cluster: Any, name: str) -> set[str]:
    """Uids of the running pods of a server."""
    return {
        pod.metadata.uid
        for pod in cluster.pods()
        if pod.metadata.labels.get("airflow-mlops/server") == name and pod.metadata.deletion_timestamp is None
    }


def test_shares_follow_the_weights_under_traffic_and_no_request_fails(cluster, fleet):
    servers, router = fleet(), ReplicaRatioRouter(KubernetesObjects(cluster.api.api_client, cluster.namespace))
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
            seen = clients.watch(3.0)
            total = sum(seen.values())
            print(f"{share} %: {dict(seen)} in 3 s; the move took {moved:.1f} s; failures {len(clients.failures)}")
            assert total > 100
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


SPEC = {
    "steps": [
        {"weight_percent": 25, "min_seconds": 1, "min_requests": 40},
        {"weight_percent": 50, "min_seconds": 1, "min_requests": 80},
    ],
    "error_rate": {"max_increase": 0.15},
    "look_seconds": 0.5,
    "step_timeout_seconds": 60,
    "max_unknown_seconds": 30,
}


def test_a_candidate_takes_over_pod_by_pod(cluster, fleet, serving, connection, run_dag, artifact_root, tmp_path):
    """Through Airflow: numbers of pods, a Lease, and what the servers themselves say to Prometheus."""
    from airflow.sdk import DAG

    from airflow_mlops.operators.rollout import CanaryRolloutOperator

    model = f"m{uuid.uuid4().hex[:8]}"
    old, new = f"{model}-v1", f"{model}-v2"
    servers = fleet()
    for version in "12":
        servers.ensure(server_spec(version, model))
    until(lambda: all(servers.status(name).phase == "ready" for name in (old, new)))
    router = ReplicaRatioRouter(KubernetesObjects(cluster.api.api_client, cluster.namespace), total_replicas=4)
    router.ensure_targets(model, {old: 8080}, fencing_token=0)
    router.set_weights(model, {old: 100}, fencing_token=0, expected_generation=1)
    served = cluster.api.read_namespaced_service(model, cluster.namespace)
    with (
        Discovery(cluster, tmp_path / "pods.json") as pods,
        prometheus_server(tmp_path, [], discovery=pods.configuration) as prometheus,
        Clients(served.spec.cluster_ip, 8080) as clients,
    ):
        connection("prometheus_default", conn_type="http", host=prometheus)
        extra = {
            "kind": "replica_ratio",
            "namespace": cluster.namespace,
            "kubeconfig": cluster.kubeconfig,
            "router": {"total_replicas": 4},
            "serving": serving(),
            "metrics": {"source": "prometheus", "scrape_seconds": SCRAPE_SECONDS},
        }
        connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", extra=extra)
        with DAG(f"rollout_{model}", schedule=None) as dag:
            CanaryRolloutOperator(task_id="canary", model_name=model, candidate=new, spec=SPEC)
        run = run_dag(dag)
    assert run.states == {"canary": "success"}
    result = run.xcom("canary")
    assert [entry["weights"].get(new) for entry in result["history"]] == [25, 50, 100]
    assert clients.failures == []
    assert dict(router.observe(model).weights) == {new: 100}
    assert len(pods_of(cluster, new)) == 4
