"""Percentages of InferenceServices, in a real API server with KServe's definition; the tests play its controller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from airflow_mlops.adapters.kubernetes_objects import ObjectKind
from airflow_mlops.adapters.traffic.kserve import KServeRouter
from airflow_mlops.exceptions import (
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from tests.system.kubernetes.definitions import _knows as knows
from tests.system.kubernetes.definitions import ensure_defined
from tests.system.kubernetes.routed import Json, Objects, Patch, ServesFromTheStart

pytestmark = pytest.mark.system

STANDARD = {"serving.kserve.io/deploymentMode": "Standard"}
KNATIVE = {"serving.kserve.io/deploymentMode": "Knative"}
OLD, NEW = "m-predictor-00001", "m-predictor-00002"


def _model(uri: str, **fields: Any) -> Json:
    return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **fields}


def _stable() -> Json:
    settings = [{"name": "THREADS", "value": "2"}]
    resources = {"requests": {"cpu": "1"}, "limits": {"memory": "2Gi"}}
    predictor = _model("s3://models/1", minReplicas=4, maxReplicas=8, scaleTarget=50, serviceAccountName="models")
    predictor["model"] |= {"env": settings, "resources": resources}
    return predictor


def _canary(name: str, uri: str, percent: int = 0, **fields: Any) -> Json:
    predictor = _model(uri, name=name, minReplicas=1, **fields)
    predictor["model"]["name"] = "kserve-container"  # the definition asks for it here, and not above
    return {"trafficPercent": percent, "predictor": predictor}


def _shares(document: Json) -> dict[str, int]:
    return {one["predictor"]["name"]: one["trafficPercent"] for one in document["spec"].get("canary", [])}


def report(document: Json, *, ready: bool = True) -> Json:
    """What KServe reports in Standard mode."""
    at = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": at}
        for kind in ("IngressReady", "PredictorReady", "Ready")
    ]
    canaries = [
        {"name": one["predictor"]["name"], "ready": ready, "trafficPercent": one["trafficPercent"]}
        for one in document["spec"].get("canary", [])
    ]
    generation = document["metadata"]["generation"]
    return {"observedGeneration": generation, "conditions": conditions, "canaryStatuses": canaries}


class _KServe(ServesFromTheStart):
    annotations: ClassVar[Json]

    @pytest.fixture
    def objects(self, api: Any, namespace: str) -> Iterator[Objects]:
        ensure_defined(api, KServeRouter.kind, "kserve-inferenceservices.yaml")
        objects = Objects(api.api_client, namespace, KServeRouter.kind)
        yield objects
        objects.delete_all()

    def make(self, objects: Objects, name: str) -> None:
        raise NotImplementedError

    @pytest.fixture
    def router(self, objects: Objects) -> KServeRouter:
        for name in ("m", "other"):
            self.make(objects, name)
        return KServeRouter(objects.by_way)

    def test_routes_do_not_touch_each_other(
        self, router: KServeRouter, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets("m", both, fencing_token=7)
        stable, candidate = (name.replace("m-", "other-", 1) for name in names[:2])
        view = router.ensure_targets("other", {candidate: 80}, fencing_token=1)
        router.set_weights("other", {stable: 90, candidate: 10}, fencing_token=1, expected_generation=view.generation)
        assert dict(router.observe("m").weights) == {names[0]: 100}
        assert dict(router.observe("other").weights) == {stable: 90, candidate: 10}


class TestStandardMode(_KServe):
    def make(self, objects: Objects, name: str) -> None:
        spec = {"predictor": _stable(), "canary": [_canary("v2", "s3://models/2")]}
        objects.create(name, spec, annotations=STANDARD)

    @pytest.fixture
    def targets(self) -> Mapping[str, int]:
        return {"m-predictor": 80, "m-v2-predictor": 80, "m-v3-predictor": 80}

    @pytest.fixture
    def another_hand(self, objects: Objects) -> Callable[[str], None]:
        return lambda route: objects.edit(route, lambda it: it["spec"]["canary"][0].update(trafficPercent=80)) and None

    @pytest.fixture
    def ours(self) -> Patch:
        return lambda it: it["spec"]["canary"][0].pop("trafficPercent") and None

    def test_a_canary_gets_its_share_when_kserve_says_that_it_is_ready(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        assert _shares(objects.get("m")) == {"v2": 10}
        objects.report("m", report(objects.get("m"), ready=False))
        assert router.verify("m") == "pending"
        objects.report("m", report(objects.get("m")))
        assert router.verify("m") == "ok"
        assert router.observe("m").applied
        router.set_weights("m", {"m-predictor": 50, "m-v2-predictor": 50}, fencing_token=1, expected_generation=begun)
        assert router.verify("m") == "pending", "the status is that of the generation before"

    def test_a_promotion_first_moves_the_requests_and_then_makes_the_canary_the_stable_one(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        router.set_weights("m", {"m-v2-predictor": 100}, fencing_token=1, expected_generation=begun)
        document = objects.get("m")
        assert _shares(document) == {"v2": 100}
        assert document["spec"]["predictor"] == _stable(), "the way back is still there"
        with pytest.raises(TransientAdapterError, match="does not yet report that m-v2-predictor has all requests"):
            router.remove_target("m", "m-predictor")
        objects.report("m", report(objects.get("m")))
        view = router.remove_target("m", "m-predictor")
        assert (dict(view.weights), dict(view.targets)) == ({"m-v2-predictor": 100}, {"m-v2-predictor": 80})
        assert view.foreign_edits == ()
        spec = objects.get("m")["spec"]
        assert spec["canary"] == []
        # What the canary's pods were made from, so that they stay; but the stable one's scaling.
        promoted = _stable()
        promoted["model"] |= {"storageUri": "s3://models/2", "name": "kserve-container"}
        assert spec["predictor"] == promoted | {"name": "v2"}
        assert dict(router.remove_target("m", "m-predictor").targets) == {"m-v2-predictor": 80}

    def test_the_next_rollout_starts_from_the_promoted_one(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        router.set_weights("m", {"m-v2-predictor": 100}, fencing_token=1, expected_generation=begun)
        objects.report("m", report(objects.get("m")))
        router.remove_target("m", "m-predictor")
        objects.edit("m", lambda it: it["spec"].update(canary=[_canary("v3", "s3://models/3")]))
        view = router.ensure_targets("m", {"m-v3-predictor": 80}, fencing_token=2)
        view = router.set_weights(
            "m", {"m-v2-predictor": 95, "m-v3-predictor": 5}, fencing_token=2, expected_generation=view.generation
        )
        assert (_shares(objects.get("m")), view.foreign_edits) == ({"v3": 5}, ())

    def test_a_rollback_leaves_the_canary_without_requests_until_it_is_removed(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        router.set_weights("m", {"m-predictor": 100}, fencing_token=1, expected_generation=None)
        assert _shares(objects.get("m")) == {"v2": 0}
        view = router.remove_target("m", "m-v2-predictor")
        assert (dict(view.targets), _shares(objects.get("m"))) == ({"m-predictor": 80}, {})
        assert objects.get("m")["spec"]["predictor"] == _stable()

    def test_a_service_that_is_stopped_by_force_is_seen_and_does_not_hinder_the_way_back(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        objects.edit("m", lambda it: it["metadata"]["annotations"].update({"serving.kserve.io/stop": "true"}))
        assert router.observe("m").foreign_edits == ("the service was stopped by serving.kserve.io/stop",)
        with pytest.raises(StaleWriteError, match="was stopped"):
            router.set_weights(
                "m", {"m-predictor": 50, "m-v2-predictor": 50}, fencing_token=1, expected_generation=begun
            )
        router.set_weights("m", {"m-predictor": 100}, fencing_token=1, expected_generation=None)
        assert _shares(objects.get("m")) == {"v2": 0}

    def test_the_way_back_takes_the_share_of_a_canary_that_another_hand_added(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        added = _canary("v9", "s3://models/9", 40)
        objects.edit("m", lambda it: it["spec"]["canary"].insert(0, added))
        (edit,) = router.observe("m").foreign_edits
        assert "m-v9-predictor 40 %" in edit
        view = router.set_weights("m", {"m-predictor": 100}, fencing_token=1, expected_generation=None)
        assert (dict(view.weights), view.foreign_edits) == ({"m-predictor": 100}, ())
        assert _shares(objects.get("m")) == {"v9": 0, "v2": 0}
        assert objects.get("m")["spec"]["canary"][0] == added | {"trafficPercent": 0}

    def test_a_stable_predictor_that_another_hand_replaced_is_not_mistaken_for_the_old_one(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        objects.edit("m", lambda it: it["spec"]["predictor"].update(name="v7"))
        with pytest.raises(PermanentAdapterError, match="no such target m-predictor"):
            router.set_weights("m", {"m-predictor": 100}, fencing_token=1, expected_generation=None)
        assert _shares(objects.get("m")) == {"v2": 10}

    def test_a_candidate_has_to_be_there(self, router: KServeRouter) -> None:
        with pytest.raises(PermanentAdapterError, match=r"add an entry to spec.canary with trafficPercent 0"):
            router.ensure_targets("m", {"m-v5-predictor": 80}, fencing_token=1)

    def test_the_mode_has_to_be_known(self, objects: Objects) -> None:
        objects.create("m", {"predictor": _stable()})
        with pytest.raises(PermanentAdapterError, match="has deployment mode None; expected Standard or Knative"):
            KServeRouter(objects.by_way).observe("m")
        assert dict(KServeRouter(objects.by_way, mode="standard").observe("m").weights) == {"m-predictor": 100}
        objects.report("m", {"deploymentMode": "RawDeployment"})
        assert dict(KServeRouter(objects.by_way).observe("m").weights) == {"m-predictor": 100}
        with pytest.raises(SpecificationError, match="standard or knative"):
            KServeRouter(objects.by_way, mode="Serverless")


class TestKnativeMode(_KServe):
    def make(self, objects: Objects, name: str) -> None:
        objects.create(name, {"predictor": _stable() | {"canaryTrafficPercent": 0}}, annotations=KNATIVE)
        serve(objects, name)

    @pytest.fixture
    def targets(self) -> Mapping[str, int]:
        return {OLD: 80, NEW: 80, "m-predictor-00003": 80}

    @pytest.fixture
    def another_hand(self, objects: Objects) -> Callable[[str], None]:
        return lambda route: (
            objects.edit(route, lambda it: it["spec"]["predictor"].update(canaryTrafficPercent=80)) and None
        )

    @pytest.fixture
    def ours(self) -> Patch:
        return lambda it: it["spec"]["predictor"].pop("canaryTrafficPercent", None) and None

    def test_a_canary_has_its_share_when_knative_gave_it(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        assert objects.get("m")["spec"]["predictor"]["canaryTrafficPercent"] == 10
        assert router.verify("m") == "pending"
        serve(objects, "m")
        assert router.verify("m") == "ok"

    def test_removing_the_field_promotes_and_zero_goes_back_also_afterwards(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        view = router.set_weights("m", {NEW: 100}, fencing_token=1, expected_generation=begun)
        assert "canaryTrafficPercent" not in objects.get("m")["spec"]["predictor"]
        assert (dict(view.weights), view.foreign_edits) == ({NEW: 100}, ())
        serve(objects, "m", latestRolledoutRevision=NEW, previousRolledoutRevision=OLD)
        assert router.verify("m") == "ok"
        view = router.set_weights("m", {OLD: 100}, fencing_token=1, expected_generation=None)
        assert objects.get("m")["spec"]["predictor"]["canaryTrafficPercent"] == 0
        assert (dict(view.weights), view.foreign_edits) == ({OLD: 100}, ())

    def test_another_revision_in_between_is_seen_and_the_way_back_is_open(
        self, router: KServeRouter, objects: Objects, begun: int
    ) -> None:
        serve(objects, "m", latestReadyRevision="m-predictor-00003")
        (edit,) = router.observe("m").foreign_edits
        assert "m-predictor-00003 10 %" in edit
        with pytest.raises(StaleWriteError, match="somebody else"):
            router.set_weights("m", {OLD: 50, NEW: 50}, fencing_token=1, expected_generation=begun)
        view = router.set_weights("m", {OLD: 100}, fencing_token=1, expected_generation=None)
        assert dict(view.weights) == {OLD: 100}

    def test_a_service_without_a_ready_revision_may_have_one_later(self, objects: Objects) -> None:
        objects.create("m", {"predictor": _stable()}, annotations=KNATIVE)
        with pytest.raises(TransientAdapterError, match="no revision of the predictor is ready yet"):
            KServeRouter(objects.by_way).observe("m")


def serve(objects: Objects, name: str, **revisions: str) -> None:
    """Report what KServe reports in Knative mode."""
    document = objects.get(name)
    old, new = (one.replace("m-", f"{name}-", 1) for one in (OLD, NEW))
    component = {"latestReadyRevision": new, "latestRolledoutRevision": old, **revisions}
    share = document["spec"]["predictor"].get("canaryTrafficPercent", 100)
    traffic = [
        {"latestRevision": True, "revisionName": component["latestReadyRevision"], "percent": share},
        {"latestRevision": False, "revisionName": old, "percent": 100 - share, "tag": "prev"},
    ]
    status = {"components": {"predictor": {**component, "traffic": traffic}}}
    objects.report(name, status | {"observedGeneration": document["metadata"]["generation"]})


class _Old(KServeRouter):
    kind = ObjectKind(group="old.kserve.test", version="v1beta1", plural="inferenceservices", kind="InferenceService")


def test_a_definition_without_the_field_is_refused_instead_of_losing_the_share(api: Any, namespace: str) -> None:
    """An API server drops what its definition does not know; here it is that of a KServe which knows no canaries."""
    from kubernetes.client import ApiextensionsV1Api

    text = {"type": "string"}
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"predictor": {"type": "object", "properties": {"name": text}}}},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "InferenceService", "plural": "inferenceservices"}
    spec = {
        "group": _Old.kind.group,
        "names": names,
        "scope": "Namespaced",
        "versions": [version | {"subresources": {"status": {}}}],
    }
    definitions = ApiextensionsV1Api(api.api_client)
    definition = {"metadata": {"name": f"inferenceservices.{_Old.kind.group}"}, "spec": spec}
    definitions.create_custom_resource_definition(
        {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", **definition}
    )
    try:
        deadline = time.monotonic() + 60
        while not knows(api, _Old.kind):
            assert time.monotonic() < deadline, "the definition does not come up"
            time.sleep(0.2)
        objects = Objects(api.api_client, namespace, _Old.kind)
        objects.create("m", {"predictor": {}, "canary": [_canary("v2", "s3://models/2")]}, annotations=STANDARD)
        router = _Old(objects.by_way)
        with pytest.raises(PermanentAdapterError, match=r"KServe before 0.20 drops it without a word"):
            router.ensure_targets("m", {"m-v2-predictor": 80}, fencing_token=1)
        objects.edit("m", lambda it: it["metadata"]["annotations"].update(KNATIVE))
        serve(objects, "m", previousRolledoutRevision=OLD, latestRolledoutRevision=NEW)
        view = router.ensure_targets("m", {OLD: 80}, fencing_token=1)
        with pytest.raises(PermanentAdapterError, match="does not have the field"):
            router.set_weights("m", {OLD: 90, NEW: 10}, fencing_token=1, expected_generation=view.generation)
        assert json.dumps(objects.get("m")["spec"]) == '{"predictor": {}}'
    finally:
        definitions.delete_custom_resource_definition(definition["metadata"]["name"])
