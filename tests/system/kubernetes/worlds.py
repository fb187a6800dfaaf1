"""Whole rollouts over the routers of Istio, KServe and Argo, whose controllers are played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.serving.delegated import DelegatedFleet
from airflow_mlops.adapters.traffic.lease_store import LEASES, LeaseRolloutStore
from airflow_mlops.hooks.gateway_kinds import KINDS
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.start import start
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics
from tests.system.kubernetes import argo, test_router_argo, test_router_istio, test_router_kserve
from tests.system.kubernetes.routed import Objects

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
    """A namespace of a cluster with one route, ``m``.

    :param server: ``kubernetes.client.ApiClient``, or one in memory
    :param rights: client of the process that moves the traffic; None for ``server``
    :param act: what the kind's controller does when it comes to it
    """

    server: Any
    kind: str
    stable: str
    candidate: str
    make: Callable[[Objects], None]
    act: Callable[[Objects], None]
    namespace: str = "models"
    rights: Any = None
    clock: ManualClock = field(default_factory=ManualClock)
    metrics: MemoryMetrics = field(default_factory=MemoryMetrics)

    def __post_init__(self) -> None:
        kind = KINDS[self.kind]
        self.objects = Objects(self.server, self.namespace, kind.router_class().kind)
        everything = KubernetesObjects(self.rights or self.server, self.namespace)
        self.router: Any = kind.cluster_router(everything, {})
        self.make(self.objects)
        self.act(self.objects)
        self.fleet: Any = _Known() if kind.deployments else DelegatedFleet(self.router, runner=kind.title)
        store = LeaseRolloutStore(everything, kind=self.kind, clock=self.clock)
        self.gateway = Gateway(router=self.router, store=store, metrics=self.metrics, clock=self.clock)
        for name in (self.stable, self.candidate):
            self.metrics.count(name, requests=0)

    def close(self) -> None:
        self.objects.delete_all()
        KubernetesObjects(self.server, self.namespace).delete(LEASES, "rollout-m")

    def begin(self, *, spec: RolloutSpec = SPEC) -> tuple[Lease, RolloutState]:
        lease = self.gateway.store.acquire("m", "dag/run/task/-1", lease_seconds=60)
        return lease, start(self.gateway, self.fleet, lease, route="m", candidate=self.candidate, spec=spec)

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


#: The arguments of a :class:`World` besides its server.
WORLDS: dict[str, Mapping[str, Any]] = {
    "istio": {
        "kind": "istio",
        "stable": "m-v1",
        "candidate": "m-v2",
        "make": _serve_istio,
        "act": lambda _: None,
    },
    "kserve standard": {
        "kind": "kserve",
        "stable": "m-predictor",
        "candidate": "m-v2-predictor",
        "make": _serve_standard,
        "act": _report_standard,
    },
    "kserve knative": {
        "kind": "kserve",
        "stable": test_router_kserve.OLD,
        "candidate": test_router_kserve.NEW,
        "make": _serve_knative,
        "act": lambda objects: test_router_kserve.serve(objects, "m"),
    },
    "argo": {
        "kind": "argo_rollouts",
        "stable": "m-aaa",
        "candidate": "m-bbb",
        "make": test_router_argo.begin,
        "act": _reconcile,
    },
}


class WholeRollouts:
    """A rollout from its beginning to each of its ends; a subclass says in which world."""

    @pytest.fixture(params=list(WORLDS))
    def world(self, request: pytest.FixtureRequest) -> World:
        raise NotImplementedError

    def test_a_good_candidate_is_promoted_step_by_step(self, world: World) -> None:
        lease, state = world.begin()
        state, given = world.drive(lease, state, errors=0)
        stable, candidate = world.stable, world.candidate
        assert state.phase == "promoted", state.history[-1]
        assert given == [{stable: 90, candidate: 10}, {stable: 50, candidate: 50}, {candidate: 100}]
        assert world.router.observe("m").foreign_edits == ()

    def test_a_bad_one_goes_back_and_stays_back(self, world: World) -> None:
        lease, state = world.begin()
        state, given = world.drive(lease, state, errors=80)
        assert state.phase == "rolled_back", state.history[-1]
        assert given == [{world.stable: 90, world.candidate: 10}, {world.stable: 100}]
        world.gateway.apply(state, token=lease.token)
        world.act(world.objects)
        assert dict(world.router.observe("m").weights) == {world.stable: 100}

    def test_one_that_nobody_judges_goes_back_when_its_lease_ends(self, world: World) -> None:
        lease, state = world.begin()
        world.gateway.apply(state, token=lease.token)
        world.act(world.objects)
        world.clock.advance(61)
        said = return_expired("m", router=world.router, store=world.gateway.store, clock=world.clock)
        assert said is not None
        world.act(world.objects)
        assert dict(world.router.observe("m").weights) == {world.stable: 100}
