"""Orders to Argo Rollouts, in a real API server with Argo's definition; :mod:`argo` plays its controller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.argo_rollouts import ArgoRolloutsRouter
from airflow_mlops.exceptions import PermanentAdapterError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.observation import RouteView
from tests.system.kubernetes.argo import new_template, reconciled
from tests.system.kubernetes.definitions import ensure_defined
from tests.system.kubernetes.routed import Json, Objects, Patch, ServesFromTheStart, limited

pytestmark = pytest.mark.system

STEPS = [
    {"pause": {}},
    {"setWeight": 10},
    {"pause": {}},
    {"setCanaryScale": {"replicas": 3}},
    {"setWeight": 50},
    {"pause": {}},
]


def _spec(steps: list[Json]) -> Json:
    routing = {"istio": {"virtualService": {"name": "m", "routes": ["primary"]}}}
    canary = {"steps": steps, "stableService": "m", "canaryService": "m-canary", "trafficRouting": routing}
    container = {"name": "server", "image": "server:2"}
    return {
        "replicas": 4,
        "selector": {"matchLabels": {"app": "m"}},
        "template": {"metadata": {"labels": {"app": "m"}}, "spec": {"containers": [container]}},
        "strategy": {"canary": canary},
    }


def begin(objects: Objects, name: str = "m", steps: list[Json] = STEPS) -> None:
    """Make a Rollout whose new template waits in its first pause."""
    objects.create(name, _spec(steps))
    objects.report(name, {"stableRS": "aaa", "currentPodHash": "aaa"})
    objects.report(name, new_template(objects.get(name), "bbb"))
    _reconcile(objects, name)


def _reconcile(objects: Objects, name: str = "m") -> None:
    objects.report(name, reconciled(objects.get(name)))


class _Attended(ArgoRolloutsRouter):
    """The router, with a controller that acts after every order."""

    reconcile: Callable[[str], None]

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        super().set_weights(route, weights, fencing_token=fencing_token, expected_generation=expected_generation)
        self.reconcile(route)
        return self.observe(route)


@pytest.fixture
def objects(api: Any, namespace: str) -> Iterator[Objects]:
    ensure_defined(api, ArgoRolloutsRouter.kind, "argo-rollouts-rollouts.yaml")
    objects = Objects(api.api_client, namespace, ArgoRolloutsRouter.kind)
    yield objects
    objects.delete_all()


class TestArgoRolloutsRouter(ServesFromTheStart):
    @pytest.fixture
    def objects(self, objects: Objects) -> Objects:
        return objects

    @pytest.fixture
    def targets(self) -> Mapping[str, int]:
        return {"m-aaa": 80, "m-bbb": 80, "m-ccc": 80}

    @pytest.fixture
    def router(self, objects: Objects) -> ArgoRolloutsRouter:
        for name in ("m", "other"):
            begin(objects, name)
        router = _Attended(objects.by_way)
        router.reconcile = lambda route: _reconcile(objects, route)
        return router

    @pytest.fixture
    def another_hand(self, objects: Objects) -> Callable[[str], None]:
        def promote(route: str) -> None:
            document = objects.get(route)
            objects.report(route, document["status"] | {"pauseConditions": []})
            _reconcile(objects, route)

        return promote

    @pytest.fixture
    def ours(self) -> Patch:
        def strip(document: Json) -> None:
            status = document["status"]
            for name in ("abort", "promoteFull", "pauseConditions", "controllerPause", "currentStepIndex"):
                status.pop(name, None)
            for name in ("canary", "phase"):  # the controller's
                status.pop(name, None)

        return strip

    def test_routes_do_not_touch_each_other(
        self, router: ArgoRolloutsRouter, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets("m", both, fencing_token=7)
        view = router.ensure_targets("other", {"other-bbb": 80}, fencing_token=1)
        weights = {"other-aaa": 90, "other-bbb": 10}
        router.set_weights("other", weights, fencing_token=1, expected_generation=view.generation)
        assert dict(router.observe("m").weights) == {names[0]: 100}
        assert dict(router.observe("other").weights) == weights

    def test_a_step_is_released_and_argo_gives_its_weight(
        self, router: ArgoRolloutsRouter, objects: Objects, begun: int
    ) -> None:
        status = objects.get("m")["status"]
        assert status["currentStepIndex"] == 2
        assert status["canary"]["weights"]["canary"] == {"podTemplateHash": "bbb", "weight": 10}
        assert router.verify("m") == "ok"

    def test_all_for_the_canary_promotes_it(self, router: ArgoRolloutsRouter, objects: Objects, begun: int) -> None:
        view = router.set_weights("m", {"m-bbb": 100}, fencing_token=1, expected_generation=begun)
        assert objects.get("m")["status"]["stableRS"] == "bbb"
        assert (dict(view.weights), view.foreign_edits, view.applied) == ({"m-bbb": 100}, (), True)
        with pytest.raises(PermanentAdapterError, match="m-aaa 100 % cannot be asked of it"):
            router.set_weights("m", {"m-aaa": 100}, fencing_token=1, expected_generation=None)

    def test_an_abort_stays_until_argo_is_given_another_template(
        self, router: ArgoRolloutsRouter, objects: Objects, begun: int
    ) -> None:
        view = router.set_weights("m", {"m-aaa": 100}, fencing_token=1, expected_generation=None)
        assert objects.get("m")["status"]["abort"] is True
        assert (dict(view.weights), view.applied) == ({"m-aaa": 100}, True)
        with pytest.raises(PermanentAdapterError, match="was aborted; it goes on after a new template only"):
            router.set_weights("m", {"m-aaa": 90, "m-bbb": 10}, fencing_token=1, expected_generation=view.generation)
        objects.report("m", new_template(objects.get("m"), "ccc"))
        _reconcile(objects)
        view = router.ensure_targets("m", {"m-ccc": 80}, fencing_token=2)
        view = router.set_weights("m", {"m-aaa": 90, "m-ccc": 10}, fencing_token=2, expected_generation=view.generation)
        assert (dict(view.weights), view.foreign_edits) == ({"m-aaa": 90, "m-ccc": 10}, ())

    def test_a_target_is_forgotten_whatever_another_hand_did(
        self, router: ArgoRolloutsRouter, objects: Objects, begun: int
    ) -> None:
        router.set_weights("m", {"m-aaa": 100}, fencing_token=1, expected_generation=None)
        objects.report("m", new_template(objects.get("m"), "ccc") | {"stableRS": "ccc"})
        assert router.observe("m").foreign_edits
        assert dict(router.remove_target("m", "m-bbb").targets) == {"m-aaa": 80}

    def test_a_retry_by_hand_after_an_abort_gives_the_canary_nothing(
        self, router: ArgoRolloutsRouter, objects: Objects, begun: int
    ) -> None:
        router.set_weights("m", {"m-aaa": 100}, fencing_token=1, expected_generation=None)
        objects.report("m", objects.get("m")["status"] | {"abort": False})
        _reconcile(objects)
        assert dict(router.observe("m").weights) == {"m-aaa": 100}
        router.set_weights("m", {"m-aaa": 100}, fencing_token=1, expected_generation=None)
        assert objects.get("m")["status"]["abort"] is True

    def test_weights_that_no_step_gives_are_refused(self, router: ArgoRolloutsRouter, begun: int) -> None:
        message = (
            r"Argo's present step in m gives m-aaa 90 %, m-bbb 10 %, its next m-aaa 50 %, m-bbb 50 %; "
            r"m-aaa 70 %, m-bbb 30 % cannot be asked of it"
        )
        with pytest.raises(PermanentAdapterError, match=message):
            router.set_weights("m", {"m-aaa": 70, "m-bbb": 30}, fencing_token=1, expected_generation=begun)
        assert router.observe("m").foreign_edits == ()

    def test_analysis_of_argo_that_ends_without_a_result_is_seen(
        self, router: ArgoRolloutsRouter, objects: Objects, begun: int
    ) -> None:
        pauses = [{"reason": "InconclusiveAnalysisRun", "startTime": "2026-01-01T00:00:00Z"}]
        objects.report("m", objects.get("m")["status"] | {"pauseConditions": pauses})
        assert router.observe("m").foreign_edits == ("Argo paused the Rollout: InconclusiveAnalysisRun",)
        objects.edit("m", lambda it: it["spec"].update(paused=True))
        assert "the Rollout was paused (spec.paused)" in router.observe("m").foreign_edits
        router.set_weights("m", {"m-aaa": 100}, fencing_token=1, expected_generation=None)
        assert objects.get("m")["status"]["abort"] is True


def test_argo_may_take_its_time(objects: Objects) -> None:
    begin(objects)
    router = ArgoRolloutsRouter(objects.by_way)
    view = router.ensure_targets("m", {"m-bbb": 80}, fencing_token=1)
    ten, fifty = {"m-aaa": 90, "m-bbb": 10}, {"m-aaa": 50, "m-bbb": 50}
    view = router.set_weights("m", ten, fencing_token=1, expected_generation=view.generation)
    assert (dict(view.weights), view.applied, view.foreign_edits) == (ten, False, ())
    assert router.verify("m") == "pending"
    with pytest.raises(TransientAdapterError, match="has not yet come to the pause of m-aaa 90 %, m-bbb 10 %"):
        router.set_weights("m", fifty, fencing_token=1, expected_generation=view.generation)
    _reconcile(objects)
    assert router.verify("m") == "ok"


def test_a_process_that_dies_before_it_told_argo_leaves_an_order_that_the_next_write_gives(objects: Objects) -> None:
    begin(objects)
    router = ArgoRolloutsRouter(objects.by_way)
    view = router.ensure_targets("m", {"m-bbb": 80}, fencing_token=1)
    ten = {"m-aaa": 90, "m-bbb": 10}

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    objects.way.before_patch = [lambda: None, kill]  # the record is written, the status is not
    with pytest.raises(Killed):
        router.set_weights("m", ten, fencing_token=1, expected_generation=view.generation)
    seen = router.observe("m")
    assert (dict(seen.weights), seen.applied, seen.foreign_edits) == (ten, False, ())
    _reconcile(objects)
    assert reconciled(objects.get("m"))["currentStepIndex"] == 0, "Argo was told nothing"
    router.set_weights("m", ten, fencing_token=1, expected_generation=seen.generation)
    _reconcile(objects)
    assert router.verify("m") == "ok"


def test_a_newer_token_stops_an_order_that_is_late(objects: Objects) -> None:
    begin(objects)
    late, next_holder = (
        ArgoRolloutsRouter(objects.by_way),
        ArgoRolloutsRouter(KubernetesObjects(objects.client, objects.namespace)),
    )
    view = late.ensure_targets("m", {"m-bbb": 80}, fencing_token=1)

    def overtake() -> None:
        next_holder.set_weights("m", {"m-aaa": 100}, fencing_token=2, expected_generation=None)

    objects.way.before_patch = [lambda: None, overtake]
    with pytest.raises(StaleWriteError, match="token 1 is older than 2; Argo was not told"):
        late.set_weights("m", {"m-aaa": 90, "m-bbb": 10}, fencing_token=1, expected_generation=view.generation)
    assert objects.get("m")["status"]["abort"] is True


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"setWeight": 10}, {"pause": {}}], r"steps\[0\]: no pause stands before this setWeight"),
        (
            [{"pause": {}}, {"setWeight": 10}, {"pause": {"duration": "60s"}}],
            r"steps\[2\]: Argo goes on by itself after 60s",
        ),
        ([{"pause": {}}, {"setWeight": 10}, {"setWeight": 50}, {"pause": {}}], r"steps\[2\]: no pause stands before"),
        ([{"pause": {}}, {"setWeight": 10}], "no pause at the end of its steps"),
        ([], "no pause at the end of its steps"),
    ],
)
def test_steps_by_which_argo_goes_on_without_being_told_are_refused(
    objects: Objects, steps: list[Json], said: str
) -> None:
    objects.create("m", _spec(steps))
    objects.report("m", {"stableRS": "aaa", "currentPodHash": "bbb", "currentStepIndex": 0})
    with pytest.raises(PermanentAdapterError, match=said):
        ArgoRolloutsRouter(objects.by_way).ensure_targets("m", {"m-bbb": 80}, fencing_token=1)


def test_without_the_right_to_write_the_status_argo_is_not_told(api: Any, objects: Objects) -> None:
    begin(objects)
    view = ArgoRolloutsRouter(objects.by_way).ensure_targets("m", {"m-bbb": 80}, fencing_token=1)
    client = limited(api, objects.namespace, ("argoproj.io", "rollouts", ("get", "patch")))
    poor = ArgoRolloutsRouter(KubernetesObjects(client, objects.namespace))
    with pytest.raises(PermanentAdapterError, match=r"403 Forbidden.*rollouts/status"):
        poor.set_weights("m", {"m-aaa": 90, "m-bbb": 10}, fencing_token=1, expected_generation=view.generation)
    client.close()
    assert objects.get("m")["status"]["currentStepIndex"] == 0


def test_a_rollout_that_is_no_canary_is_refused(objects: Objects) -> None:
    spec = _spec([])
    objects.create("m", spec | {"strategy": {"blueGreen": {"activeService": "m"}}})
    with pytest.raises(PermanentAdapterError, match="Rollout m has no canary strategy"):
        ArgoRolloutsRouter(objects.by_way).observe("m")
    objects.create("new", spec)
    with pytest.raises(TransientAdapterError, match="has not yet said which pods of new are stable"):
        ArgoRolloutsRouter(objects.by_way).observe("new")
