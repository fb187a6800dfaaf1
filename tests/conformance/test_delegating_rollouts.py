"""Whole rollouts over the routers of Istio, KServe and Argo, over an API server in memory."""

from __future__ import annotations

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.fenced_object import FencedRouter
from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.hooks.gateway_kinds import KINDS
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.ports import ServerFleet
from airflow_mlops.rollout.serving import ServerSpec
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes
from tests.system.kubernetes import test_router_kserve
from tests.system.kubernetes.worlds import WORLDS, WholeRollouts, World

pytest.importorskip("kubernetes")


class TestInMemory(WholeRollouts):
    @pytest.fixture(params=list(WORLDS))
    def world(self, request: pytest.FixtureRequest) -> World:
        return World(MemoryKubernetes(), **WORLDS[request.param])


def test_servers_of_others_are_looked_at_only() -> None:
    world = World(MemoryKubernetes(), **WORLDS["kserve standard"])
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
    world = World(MemoryKubernetes(), **WORLDS["argo"])
    assert world.fleet.status("m-bbb").phase == "ready"
    lease, state = world.begin()
    world.drive(lease, state, errors=80)
    stopped = world.fleet.status("m-bbb")
    assert (stopped.phase, stopped.message) == ("stopped", "Argo aborted it: ")
    assert world.fleet.status("m-aaa").phase == "ready"


def test_a_rollout_whose_steps_argo_does_not_have_does_not_begin() -> None:
    world = World(MemoryKubernetes(), **WORLDS["argo"])
    steps = (CanaryStep(weight_percent=10), CanaryStep(weight_percent=25))
    message = r"expected what a step of Rollout m gives m-bbb: 0 %, 10 %, 50 %, 100 %"
    with pytest.raises(SpecificationError, match=message):
        world.begin(spec=RolloutSpec(steps=steps))
    assert world.router.observe("m").generation == 0


def test_every_kind_in_a_cluster_is_made_from_its_options_alone() -> None:
    for kind in KINDS.values():
        if kind.in_cluster:
            router = kind.cluster_router(KubernetesObjects(MemoryKubernetes(), "models"), {})
            assert isinstance(router, FencedRouter)
            assert "weights" in router.capabilities


def _spec(name: str) -> ServerSpec:
    model = ModelRef(uri="file:///models/m", digest=digest_of({"a": 1}), format="mlflow", size_bytes=1)
    return ServerSpec(name=name, model_name="m", version="3", model=model)
