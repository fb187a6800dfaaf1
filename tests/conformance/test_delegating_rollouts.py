"""Whole rollouts over the routers of Istio, KServe and Argo; their controllers are played, the API server is memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.serving.delegated import DelegatedFleet
from airflow_mlops.adapters.traffic.fenced_object import FencedRouter
from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore
from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.gateway_kinds import KINDS
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.ports import Lease, ServerFleet
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.start import start
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics
from tests.system.kubernetes import argo, test_router_argo, test_router_istio, test_router_kserve
from tests.system.kubernetes.routed import Objects

pytest.importorskip("kubernetes")

SPEC = RolloutSpec(
    steps=(
        CanaryStep(weight_percent=10, min_seconds=10, min_requests=100),
        CanaryStep(weight_percent=50, min_seconds=10, min_requests=100),
    ),
    error_rate=ErrorRateCheck(max_increase=0.05),
    step_timeout_seconds=100,
    max_unknown_seconds=30,
)


class _Known:
    """Model servers that are ready; a fleet as far as a rollout asks."""

    def status(self, name: str) -> ServerStatus:
        return ServerStatus(name=name, phase="ready", port=8202)


@dataclass
class World:
    """A cluster with one route.

    :param act: what the kind's controller does when it comes to it
    """

    kind: str
    stable: str
    candidate: str
    make: Callable[[Objects], None]
    act: Callable[[Objects], None]
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: MemoryMetrics = field(default_factory=MemoryMetrics)

    def __post_init__(self) -> None:
        server = MemoryKubernetes()
        kind = KINDS[self.kind]
        self.objects = Objects(server, "models", kind.router_class().kind)
        everything = KubernetesObjects(server, "models")
        self.router: Any = kind.cluster_router(everything, {})
        self.make(self.objects)
        self.act(self.objects)
        self.fleet: Any = _Known() if kind.deployments else DelegatedFleet(self.router, runner=kind.title)
        store = LeaseRolloutStore(everything, kind=self.kind, clock=self.clock)
        self.gateway = Gateway(router=self.router, store=store, metrics=self.metrics, clock=self.clock)
        for name in (self.stable, self.candidate):
            self.metrics.count(name, requests=0)

    def begin(self, holder: str = "dag/run/task/-1") -> tuple[Lease, RolloutState]:
        lease = self.gateway.store.acquire("m", holder, lease_seconds=60)
        return lease, start(self.gateway, self.fleet, lease, route="m", candidate=self.candidate, spec=SPEC)

    def drive(self, lease: Lease, state: RolloutState, *, errors: int) -> tuple[RolloutState, list[dict[str, int]]]:
        """Judge until the rollout is decided; return it, and the weights that the controller gave on the way."""
        given = []
        for _ in range(40):
            self.gateway.apply(state, token=lease.token)
            self.act(self.objects)
            given.append(dict(self.router.observe("m").weights))
            if state.finished:
                return state, given
            while True:
                self.clock.advance(5)
                for name, weight in self.router.observe("m").weights.items():
                    self.metrics.count(name, requests=weight * 20, errors=errors if name == self.candidate else 0)
                state, plan = self.gateway.look("m", token=lease.token)
                if plan.has_effects:
                    break
        raise AssertionError(f"never decided: {state.history[-1]}")


def _serve_istio(objects: Objects) -> None:
    serving = {"destination": {"host": "m-v1", "port": {"number": 8201}}}
    objects.create("m", {"hosts": ["m"], "http": [test_router_istio.STATIC, {"name": "m", "route": [serving]}]})


def _serve_standard(objects: Objects) -> None:
    test_router_kserve.TestStandardMode().make(objects, "m")


def _report_standard(objects: Objects) -> None:
    objects.report("m", test_router_kserve.report(objects.get("m")))


def _serve_knative(objects: Objects) -> None:
    test_router_kserve.TestKnativeMode().make(objects, "m")


def _reconcile(objects: Objects) -> None:
    # A controller comes back until it has nothing left to do.
    for _ in range(2):
        objects.report("m", argo.reconciled(objects.get("m")))


WORLDS: dict[str, Callable[[], World]] = {
    "istio": lambda: World("istio", "m-v1", "m-v2", _serve_istio, lambda _: None),
    "kserve standard": lambda: World("kserve", "m-predictor", "m-v2-predictor", _serve_standard, _report_standard),
    "kserve knative": lambda: World(
        "kserve",
        test_router_kserve.OLD,
        test_router_kserve.NEW,
        _serve_knative,
        lambda objects: test_router_kserve.serve(objects, "m"),
    ),
    "argo": lambda: World("argo_rollouts", "m-aaa", "m-bbb", test_router_argo.begin, _reconcile),
}


@pytest.fixture(params=list(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]()


def test_a_good_candidate_is_promoted_step_by_step(world: World) -> None:
    lease, state = world.begin()
    state, given = world.drive(lease, state, errors=0)
    stable, candidate = world.stable, world.candidate
    assert state.phase == "promoted", state.history[-1]
    assert given == [{stable: 90, candidate: 10}, {stable: 50, candidate: 50}, {candidate: 100}]
    assert world.router.observe("m").foreign_edits == ()


def test_a_bad_one_goes_back_and_stays_back(world: World) -> None:
    lease, state = world.begin()
    state, given = world.drive(lease, state, errors=80)
    assert state.phase == "rolled_back", state.history[-1]
    assert given == [{world.stable: 90, world.candidate: 10}, {world.stable: 100}]
    world.gateway.apply(state, token=lease.token)
    world.act(world.objects)
    assert dict(world.router.observe("m").weights) == {world.stable: 100}


def test_one_that_nobody_judges_goes_back_when_its_lease_ends(world: World) -> None:
    lease, state = world.begin()
    world.gateway.apply(state, token=lease.token)
    world.act(world.objects)
    world.clock.advance(61)
    said = return_expired("m", router=world.router, store=world.gateway.store, clock=world.clock)
    assert said is not None
    world.act(world.objects)
    assert dict(world.router.observe("m").weights) == {world.stable: 100}


def test_servers_of_others_are_looked_at_only() -> None:
    world = WORLDS["kserve standard"]()
    fleet: ServerFleet = world.fleet
    assert list(fleet.list()) == ["m-predictor", "m-v2-predictor"]
    status = fleet.status("m-v2-predictor")
    assert status is not None
    assert (status.phase, status.port) == ("ready", 80)
    assert fleet.status("m-v3-predictor") is None
    assert fleet.spec("m-v2-predictor") is None
    with pytest.raises(PermanentAdapterError, match="are run by an InferenceService of KServe; change its object"):
        fleet.ensure(_spec("m-v3"))
    world.objects.report("m", test_router_kserve.report(world.objects.get("m"), ready=False))
    with pytest.raises(TransientAdapterError, match=r"starting, not ready: .* has pods only by its minReplicas"):
        world.begin()


def test_argos_canary_is_ready_when_it_waits_and_stopped_when_it_was_aborted() -> None:
    world = WORLDS["argo"]()
    assert world.fleet.status("m-bbb").phase == "ready"
    lease, state = world.begin()
    world.drive(lease, state, errors=80)
    stopped = world.fleet.status("m-bbb")
    assert (stopped.phase, stopped.message) == ("stopped", "Argo aborted it: ")
    assert world.fleet.status("m-aaa").phase == "ready"


def test_every_kind_in_a_cluster_is_made_from_its_options_alone() -> None:
    for kind in KINDS.values():
        if kind.in_cluster:
            router = kind.cluster_router(KubernetesObjects(MemoryKubernetes(), "models"), {})
            assert isinstance(router, FencedRouter)
            assert "weights" in router.capabilities


def _spec(name: str) -> ServerSpec:
    model = ModelRef(uri="file:///models/m", digest=digest_of({"a": 1}), format="mlflow", size_bytes=1)
    return ServerSpec(name=name, model_name="m", version="3", model=model)
