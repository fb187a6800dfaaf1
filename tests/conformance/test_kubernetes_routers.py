"""Routers and stores on Kubernetes objects, over an API server in memory; tests/system has the same over a real one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.fenced_object import percentages
from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
from airflow_mlops.adapters.traffic.lease_store import LEASES, LeaseRolloutStore
from airflow_mlops.cli.cluster_watchdog import look, main
from airflow_mlops.exceptions import (
    ContractError,
    MLOpsError,
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.hooks.gateway_kinds import KINDS
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.routing import Match, Mirror
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes
from airflow_mlops.testing.match_conformance import MatchConformance
from airflow_mlops.testing.mirror_conformance import MirrorConformance
from airflow_mlops.testing.rollout import ManualClock
from airflow_mlops.testing.router_conformance import RouterConformance
from airflow_mlops.testing.store_conformance import RolloutStoreConformance, rollout_state

pytest.importorskip("kubernetes")


@pytest.fixture
def server() -> MemoryKubernetes:
    return MemoryKubernetes()


@pytest.fixture
def objects(server: MemoryKubernetes) -> KubernetesObjects:
    return KubernetesObjects(server, "models")


def http_route(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    spec = {"parentRefs": [{"name": "gateway"}], "rules": list(rules) or [{}]}
    return {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}


def backend(name: str, weight: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "port": 80, "weight": weight, **more}


@pytest.fixture
def rules(objects: KubernetesObjects) -> Callable[[str], list[dict[str, Any]]]:
    def read(name: str = "m") -> list[dict[str, Any]]:
        document = objects.get(HTTP_ROUTES, name)
        assert document is not None
        return list(document["spec"]["rules"])

    return read


@pytest.fixture
def edit(objects: KubernetesObjects) -> Callable[..., None]:
    def write(path: str, value: Any, name: str = "m") -> None:
        objects.change(HTTP_ROUTES, name, lambda _: [{"op": "add", "path": path, "value": value}])

    return write


class TestGatewayApiRouter(RouterConformance, MirrorConformance, MatchConformance):
    @pytest.fixture
    def router(self, objects: KubernetesObjects) -> GatewayApiRouter:
        for name in ("m", "other"):
            objects.create(HTTP_ROUTES, http_route(name))
        return GatewayApiRouter(objects)

    @pytest.fixture
    def another_hand(self, edit: Callable[..., None]) -> Callable[[str], None]:
        return lambda route: edit("/spec/rules/0/backendRefs/1/weight", 900, route)


class TestLeaseRolloutStore(RolloutStoreConformance):
    @pytest.fixture
    def store(self, objects: KubernetesObjects, clock: ManualClock) -> LeaseRolloutStore:
        return LeaseRolloutStore(objects, kind="gateway_api", clock=clock)


class TestALookAtALease:
    """A look loads and then saves: what it has read is not read again, and never trusted if somebody else wrote."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest.fixture
    def stores(self, objects: KubernetesObjects, clock: ManualClock) -> tuple[LeaseRolloutStore, LeaseRolloutStore]:
        first, second = (LeaseRolloutStore(objects, kind="gateway_api", clock=clock) for _ in range(2))
        return first, second

    def test_it_takes_two_requests(self, server: MemoryKubernetes, stores: tuple[Any, Any]) -> None:
        store, _ = stores
        token = store.acquire("m", "dag", lease_seconds=60).token
        store.save("m", replace(rollout_state(), sequence=1), token=token, renew=True)
        server.requests.clear()
        store.load("m")
        store.save("m", replace(rollout_state(), sequence=2), token=token, renew=True)
        assert server.requests == ["GET", "PATCH"]
        assert store.load("m").state == replace(rollout_state(), sequence=2)

    def test_another_look_meanwhile_is_not_overwritten(self, stores: tuple[Any, Any]) -> None:
        store, other = stores
        token = store.acquire("m", "dag", lease_seconds=60).token
        store.save("m", replace(rollout_state(), sequence=1), token=token, renew=True)
        store.load("m")
        other.load("m")
        other.save("m", replace(rollout_state(), sequence=3), token=token, renew=True)
        with pytest.raises(StaleWriteError, match="change 2 comes too late, 3 is stored already"):
            store.save("m", replace(rollout_state(), sequence=2), token=token, renew=True)
        assert store.load("m").state == replace(rollout_state(), sequence=3)

    def test_a_lease_that_passed_on_meanwhile_is_lost(self, clock: ManualClock, stores: tuple[Any, Any]) -> None:
        store, other = stores
        token = store.acquire("m", "dag", lease_seconds=60).token
        store.load("m")
        clock.advance(90)
        other.acquire("m", "other", lease_seconds=60)
        with pytest.raises(StaleWriteError, match=f"the lease with token {token} was lost, it is held by other"):
            store.save("m", replace(rollout_state(), sequence=1), token=token, renew=True)

    def test_one_that_came_back_meanwhile_is_not_refused(self, clock: ManualClock, stores: tuple[Any, Any]) -> None:
        store, other = stores
        store.acquire("m", "dag", lease_seconds=60)
        clock.advance(90)
        store.load("m")
        token = other.acquire("m", "other", lease_seconds=60).token
        store.save("m", replace(rollout_state(), sequence=1), token=token, renew=True)
        assert other.load("m").state == replace(rollout_state(), sequence=1)

    def test_one_that_was_deleted_meanwhile_is_lost(self, server: MemoryKubernetes, stores: tuple[Any, Any]) -> None:
        store, _ = stores
        token = store.acquire("m", "dag", lease_seconds=60).token
        store.load("m")
        server.objects.clear()
        with pytest.raises(StaleWriteError, match="was lost, there is no Lease"):
            store.save("m", replace(rollout_state(), sequence=1), token=token, renew=True)


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({}, {}),
        ({"a": 0}, {}),
        ({"a": 1}, {"a": 100}),
        ({"a": 1, "b": 1, "c": 1}, {"a": 34, "b": 33, "c": 33}),
        ({"a": 999, "b": 1}, {"a": 100}),
    ],
)
def test_any_weights_are_percentages(weights: dict[str, int], shares: dict[str, int]) -> None:
    assert percentages(weights) == shares


def test_a_route_that_served_before_is_taken_over(
    objects: KubernetesObjects, rules: Callable[..., list[dict[str, Any]]]
) -> None:
    foreign = backend("shop", 1, namespace="elsewhere")
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 3), foreign]}))
    router = GatewayApiRouter(objects)
    assert router.observe("m") == RouteView(route="m", weights={"m-v1": 100}, targets={"m-v1": 80}, applied=False)
    view = router.ensure_targets("m", {"m-v2": 81}, fencing_token=4)
    assert (view.generation, dict(view.weights), view.foreign_edits) == (1, {"m-v1": 100}, ())
    assert rules()[0]["backendRefs"] == [backend("m-v1", 100), foreign, {"name": "m-v2", "port": 81, "weight": 0}]


def test_only_our_own_weights_in_our_own_rule_are_touched(
    objects: KubernetesObjects, rules: Callable[..., list[dict[str, Any]]]
) -> None:
    login = {"name": "login", "backendRefs": [backend("m-v1", 1), backend("login", 5)]}
    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}
    ours = {
        "name": "predict",
        "filters": [header],
        "backendRefs": [backend("m-v1", 100, filters=[header]), backend("shop", 0, kind="Bucket", group="g")],
    }
    objects.create(HTTP_ROUTES, http_route("m", login, ours))
    router = GatewayApiRouter(objects, rule="predict")
    view = router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=view.generation)
    first, bucket, second = rules()[1]["backendRefs"]
    assert rules()[0] == login
    assert rules()[1]["filters"] == [header]
    assert (first, second["weight"]) == (backend("m-v1", 90, filters=[header]), 10)
    assert bucket == ours["backendRefs"][1]
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    router.remove_target("m", "m-v2")
    assert rules()[1] == ours


def test_a_backend_of_somebody_else_that_comes_later_is_an_edit_and_stays(
    objects: KubernetesObjects, edit: Callable[..., None], rules: Callable[..., list[dict[str, Any]]]
) -> None:
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 1)]}))
    router = GatewayApiRouter(objects)
    view = router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)
    edit("/spec/rules/0/backendRefs/-", backend("theirs", 50))
    assert router.observe("m").foreign_edits == ("backend 'theirs', which is not ours, went from weight 0 to 50",)
    with pytest.raises(StaleWriteError, match="somebody else changed it: backend 'theirs'"):
        router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=view.generation)
    back = router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    assert back.foreign_edits == ()
    assert rules()[0]["backendRefs"][-1] == backend("theirs", 50)


def test_a_backend_of_ours_that_somebody_removed_comes_back_with_a_rollback(
    objects: KubernetesObjects, edit: Callable[..., None]
) -> None:
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 1)]}))
    router = GatewayApiRouter(objects)
    router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)
    edit("/spec/rules/0/backendRefs", [backend("m-v2", 100)])
    assert "backend 'm-v1' is missing in the rule" in router.observe("m").foreign_edits
    back = router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    assert (dict(back.weights), back.foreign_edits) == ({"m-v1": 100}, ())


def test_a_rule_that_is_not_clear_is_refused(objects: KubernetesObjects) -> None:
    objects.create(HTTP_ROUTES, http_route("m", {"name": "a"}, {"name": "b"}))
    with pytest.raises(PermanentAdapterError, match=r"models/m has 2 rules, 0 of which could be .* extra\.rule"):
        GatewayApiRouter(objects).observe("m")
    with pytest.raises(PermanentAdapterError, match="has 0 rules named 'c'; its rules: 'a', 'b'"):
        GatewayApiRouter(objects, rule="c").observe("m")


def test_a_route_that_does_not_exist_is_empty_and_cannot_be_written(objects: KubernetesObjects) -> None:
    router = GatewayApiRouter(objects)
    assert router.observe("m") == RouteView(route="m")
    with pytest.raises(PermanentAdapterError, match="there is no HTTPRoute models/m"):
        router.ensure_targets("m", {"m-v1": 80}, fencing_token=1)


def parents(generation: int, resolved: str = "True") -> list[dict[str, Any]]:
    conditions = [
        {"type": kind, "status": status, "observedGeneration": generation}
        for kind, status in (("Accepted", "True"), ("ResolvedRefs", resolved))
    ]
    return [{"controllerName": "c", "conditions": conditions}]


def test_a_route_is_in_effect_when_the_gateway_says_so_of_this_generation(
    objects: KubernetesObjects, edit: Callable[..., None]
) -> None:
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 1)]}))
    router = GatewayApiRouter(objects)
    view = router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)
    assert (router.verify("m"), view.applied) == ("pending", False)
    edit("/status", {"parents": parents(2)})
    assert (router.verify("m"), router.observe("m").applied) == ("ok", True)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    assert router.verify("m") == "pending"
    edit("/status", {"parents": parents(3, resolved="False")})
    assert router.verify("m") == "pending"
    # With all traffic at one target it no longer matters which backend is missing.
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    edit("/status", {"parents": parents(4, resolved="False")})
    assert router.verify("m") == "ok"
    assert GatewayApiRouter(objects, reports_status=False).verify("m") == "unsupported"


def test_a_mirror_lies_beside_the_weights_and_ends_with_them(
    objects: KubernetesObjects, rules: Callable[..., list[dict[str, Any]]]
) -> None:
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 1)]}))
    router = GatewayApiRouter(objects)
    router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)
    view = router.set_mirror("m", "m-v2", 20, fencing_token=1, expected_generation=1)
    assert (view.mirror, view.generation, view.foreign_edits) == (Mirror(target="m-v2", percent=20), 2, ())
    mirror = {"backendRef": {"name": "m-v2", "port": 80}, "percent": 20}
    assert rules()[0]["filters"] == [{"type": "RequestMirror", "requestMirror": mirror}]
    assert router.set_mirror("m", "m-v2", 20, fencing_token=1, expected_generation=1).generation == 2
    with pytest.raises(PermanentAdapterError, match="'m-v1' gets 100 % of the requests already"):
        router.set_mirror("m", "m-v1", 20, fencing_token=1, expected_generation=2)
    view = router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=2)
    assert (view.mirror, "filters" in rules()[0]) == (None, False)


def test_a_mirror_that_was_there_before_is_taken_over(
    objects: KubernetesObjects, rules: Callable[..., list[dict[str, Any]]]
) -> None:
    fraction = {"numerator": 1, "denominator": 4}
    own = {"backendRef": {"name": "m-v2", "port": 80}, "fraction": fraction}
    theirs = {"backendRef": {"name": "audit", "port": 80}}
    filters = [{"type": "RequestMirror", "requestMirror": one} for one in (theirs, own)]
    refs = [backend("m-v1", 1), backend("m-v2", 0)]
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": refs, "filters": filters}))
    view = GatewayApiRouter(objects).ensure_targets("m", {"m-v2": 80}, fencing_token=1)
    assert (view.mirror, view.foreign_edits) == (Mirror(target="m-v2", percent=25), ())
    assert rules()[0]["filters"] == filters
    view = GatewayApiRouter(objects).set_weights("m", {"m-v2": 100}, fencing_token=1, expected_generation=1)
    assert view.mirror is None
    assert rules()[0]["filters"] == filters[:1]


def test_matched_requests_have_a_rule_of_their_own_that_keeps_what_the_steered_one_does(
    objects: KubernetesObjects, rules: Callable[..., list[dict[str, Any]]], edit: Callable[..., None]
) -> None:
    rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": "models"}}
    paths = [{"path": {"type": "PathPrefix", "value": "/a"}}, {"headers": [{"name": "x-b", "value": "1"}]}]
    steered = {
        "name": "predict",
        "matches": paths,
        "backendRefs": [backend("m-v1", 1)],
        "filters": [rewrite],
        "timeouts": {"request": "5s"},
    }
    other = {"matches": [{"path": {"type": "Exact", "value": "/health"}}], "backendRefs": [backend("health", 1)]}
    objects.create(HTTP_ROUTES, http_route("m", steered, other))
    router = GatewayApiRouter(objects, rule="predict")
    router.ensure_targets("m", {"m-v1": 80, "m-v2": 81}, fencing_token=1)
    router.set_mirror("m", "m-v2", 100, fencing_token=1, expected_generation=None)
    before = rules()
    match = Match(target="m-v2", headers={"x-tester": "yes"})
    view = router.set_match("m", match, fencing_token=1, expected_generation=2)
    tester = {"type": "Exact", "name": "x-tester", "value": "yes"}
    assert rules() == [
        *before,
        {
            "matches": [{**paths[0], "headers": [tester]}, {"headers": [*paths[1]["headers"], tester]}],  # type: ignore[misc, list-item]
            "backendRefs": [{"name": "m-v2", "port": 81}],
            "filters": [rewrite],
            "timeouts": {"request": "5s"},
        },
    ]
    # The rule to steer is still found, and a port that changes is changed for testers too.
    assert router.ensure_targets("m", {"m-v2": 82}, fencing_token=1).foreign_edits == ()
    assert rules()[2]["backendRefs"] == [{"name": "m-v2", "port": 82}]
    edit("/spec/rules/2/backendRefs/0/name", "m-v1")
    found = router.observe("m")
    assert (found.match, len(found.foreign_edits)) == (None, 1)
    assert "no requests by their headers, but those to m-v2 were written" in found.foreign_edits[0]
    edit("/spec/rules/2/backendRefs/0/name", "m-v2")
    view = router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=router.observe("m").generation)
    assert (view.match, view.foreign_edits, len(rules())) == (None, (), 2)
    assert rules()[1] == other


def test_annotations_that_somebody_spoilt_are_named(objects: KubernetesObjects, edit: Callable[..., None]) -> None:
    objects.create(HTTP_ROUTES, http_route("m"))
    router = GatewayApiRouter(objects)
    router.ensure_targets("m", {"m-v1": 80}, fencing_token=1)
    edit("/metadata/annotations/mlops.airflow.apache.org~1token", "many")
    with pytest.raises(ContractError, match=r"models/m: the annotations .* were changed by another hand"):
        router.observe("m")


def test_whoever_writes_in_between_is_seen_before_it_is_decided_again(
    server: MemoryKubernetes, objects: KubernetesObjects
) -> None:
    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 1)]}))
    router = GatewayApiRouter(objects)
    router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)

    def interfere(moment: str, method: str, _: str) -> None:
        if (moment, method) == ("before", "PATCH"):
            server.fault = None
            router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=2, expected_generation=1)

    server.fault = interfere
    with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
        router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    assert dict(router.observe("m").weights) == {"m-v1": 50, "m-v2": 50}


def test_a_writer_that_is_always_too_late_gives_up(
    server: MemoryKubernetes, objects: KubernetesObjects, edit: Callable[..., None]
) -> None:
    objects.create(HTTP_ROUTES, http_route("m"))
    busy = [False]

    def interfere(moment: str, method: str, _: str) -> None:
        if (moment, method) == ("before", "PATCH") and not busy[0]:
            busy[0] = True
            edit("/status", {"seen": server.version})
            busy[0] = False

    server.fault = interfere
    with pytest.raises(StaleWriteError, match="somebody else wrote 6 times in between"):
        GatewayApiRouter(objects).ensure_targets("m", {"m-v1": 80}, fencing_token=1)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lost_request_or_answer_is_harmless_to_repeat(
    server: MemoryKubernetes, objects: KubernetesObjects, moment: str
) -> None:
    from urllib3.exceptions import ReadTimeoutError

    objects.create(HTTP_ROUTES, http_route("m", {"backendRefs": [backend("m-v1", 1)]}))
    router, clock = GatewayApiRouter(objects), ManualClock()
    store = LeaseRolloutStore(objects, kind="gateway_api", clock=clock)
    broken = [False]

    def lose(when: str, method: str, _: str) -> None:
        if when == moment and method in {"PATCH", "POST"} and not broken[0]:
            broken[0] = True
            raise ReadTimeoutError(None, "", "read timed out")  # type: ignore[arg-type]

    def twice(call: Callable[[], Any]) -> Any:
        broken[0] = False
        with pytest.raises(TransientAdapterError, match="the API server does not answer"):
            call()
        return call()

    server.fault = lose
    lease = twice(lambda: store.acquire("m", "a", lease_seconds=60))
    twice(lambda: store.save("m", rollout_state(), token=lease.token, renew=True))
    twice(lambda: router.ensure_targets("m", {"m-v2": 80}, fencing_token=lease.token))
    weights = {"m-v1": 90, "m-v2": 10}
    view = twice(lambda: router.set_weights("m", weights, fencing_token=lease.token, expected_generation=1))
    assert (view.generation, dict(view.weights)) == (2, weights)
    twice(lambda: store.release("m", token=lease.token))
    found = store.load("m")
    assert found is not None
    assert (found.token, found.holder, found.state) == (lease.token, "", rollout_state())


def test_a_lease_says_what_those_of_kubernetes_say(objects: KubernetesObjects) -> None:
    clock = ManualClock(1_800_000_000.25)
    store = LeaseRolloutStore(objects, kind="gateway_api", clock=clock)
    lease = store.acquire("m", "dag/run/task/-1", lease_seconds=59.5)
    document = objects.get(LEASES, "rollout-m")
    assert document is not None
    assert document["spec"] == {
        "holderIdentity": "dag/run/task/-1",
        "leaseTransitions": lease.token,
        "leaseDurationSeconds": 60,
        "renewTime": "2027-01-15T08:00:00.250000Z",
        "acquireTime": "2027-01-15T08:00:00.250000Z",
    }
    assert lease.expires_at == clock.time + 60
    store.release("m", token=lease.token)
    document = objects.get(LEASES, "rollout-m")
    assert document is not None
    assert "holderIdentity" not in document["spec"]


def test_a_lease_that_was_deleted_comes_back_with_a_newer_token(objects: KubernetesObjects) -> None:
    clock = ManualClock(1_800_000_000.0)
    store = LeaseRolloutStore(objects, kind="gateway_api", clock=clock)
    before = store.acquire("m", "a", lease_seconds=60)
    objects.delete(LEASES, "rollout-m")
    with pytest.raises(StaleWriteError, match="was lost, there is no Lease"):
        store.save("m", rollout_state(), token=before.token, renew=True)
    clock.advance(1)
    assert store.acquire("m", "b", lease_seconds=60).token > before.token


def test_a_long_state_is_packed_and_one_that_is_too_long_is_refused(objects: KubernetesObjects) -> None:
    from random import Random

    from airflow_mlops.rollout.state import record
    from airflow_mlops.verdict import Verdict

    random = Random(7)
    store = LeaseRolloutStore(objects, kind="gateway_api", clock=ManualClock())
    lease = store.acquire("m", "a", lease_seconds=60)
    state = rollout_state()
    for _ in range(400):
        state = record(state, now=5.0, verdict=Verdict.PASS, reason="as the look before")
    state = replace(state, sequence=1)
    store.save("m", state, token=lease.token, renew=True)
    found = store.load("m")
    assert found is not None
    assert found.state == state
    noise = "".join(chr(random.randrange(0x4E00, 0x9FFF)) for _ in range(200_000))
    state = replace(record(state, now=5.0, verdict=Verdict.PASS, reason=noise), sequence=2)
    with pytest.raises(PermanentAdapterError, match=r"state takes \d+ bytes, but a Lease holds 256000"):
        store.save("m", state, token=lease.token, renew=True)


def test_a_lease_of_another_kind_of_gateway_is_refused(objects: KubernetesObjects) -> None:
    LeaseRolloutStore(objects, kind="istio", clock=ManualClock()).acquire("m", "a", lease_seconds=60)
    store = LeaseRolloutStore(objects, kind="gateway_api", clock=ManualClock())
    with pytest.raises(PermanentAdapterError, match="belongs to a gateway of kind 'istio', not 'gateway_api'"):
        store.load("m")
    assert store.routes() == []


def test_names_that_kubernetes_refuses_are_refused_first(objects: KubernetesObjects) -> None:
    with pytest.raises(SpecificationError, match=r"route: 'Flights_Delay' .* lower-case letters, digits and hyphens"):
        LeaseRolloutStore(objects, kind="gateway_api").load("Flights_Delay")


@pytest.fixture
def late(objects: KubernetesObjects) -> ManualClock:
    """A rollout whose lease has ended, beside one that is judged."""
    clock = ManualClock(time.time() - 61)
    store, router = LeaseRolloutStore(objects, kind="gateway_api", clock=clock), GatewayApiRouter(objects)
    for name in ("m", "fresh"):
        objects.create(HTTP_ROUTES, http_route(name, {"backendRefs": [backend("m-v1", 1)]}))
        lease = store.acquire(name, "dag/run/task/-1", lease_seconds=60)
        router.ensure_targets(name, {"m-v2": 80}, fencing_token=lease.token)
        store.save(name, replace(rollout_state(), model_name=name), token=lease.token, renew=True)
        router.set_weights(name, {"m-v1": 90, "m-v2": 10}, fencing_token=lease.token, expected_generation=1)
        if name == "m":
            clock.advance(61)
    return clock


@pytest.mark.usefixtures("late")
def test_the_watchdog_gives_back_what_nobody_judges(objects: KubernetesObjects) -> None:
    (said,) = look(KINDS["gateway_api"], objects)
    assert said == ("all traffic of m went back to m-v1: dag/run/task/-1 recorded no verdict until its lease ended")
    assert look(KINDS["gateway_api"], objects) == []
    router = GatewayApiRouter(objects)
    assert dict(router.observe("m").weights) == {"m-v1": 100}
    assert dict(router.observe("fresh").weights) == {"m-v1": 90, "m-v2": 10}
    found = LeaseRolloutStore(objects, kind="gateway_api").load("m")
    assert found is not None
    assert (found.holder, found.state and found.state.phase) == ("", "rolled_back")


def test_a_route_that_cannot_be_watched_keeps_no_other_from_it(objects: KubernetesObjects, late: ManualClock) -> None:
    store = LeaseRolloutStore(objects, kind="gateway_api", clock=late)
    store.acquire("a-broken-one", "dag/run/task/-1", lease_seconds=60)
    objects.change(LEASES, "rollout-a-broken-one", lambda _: [{"op": "remove", "path": "/spec/renewTime"}])
    with pytest.raises(MLOpsError, match="not watched: a-broken-one"):
        look(KINDS["gateway_api"], objects)
    assert dict(GatewayApiRouter(objects).observe("m").weights) == {"m-v1": 100}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--kind", "traefik"], "--kind: 'traefik' is not accepted; expected one of envoy, gateway_api"),
        (["--kind", "envoy", "--kubeconfig", "{kubeconfig}"], "kind: 'envoy' is not accepted; expected a kind of"),
        (["--kind", "gateway_api", "--router", "rule"], "--router: 'rule' is not accepted; expected a JSON object"),
        (["--kind", "gateway_api", "--kubeconfig", "/nowhere"], "Kubernetes: no way to the cluster"),
        (["--kind", "gateway_api", "--kubeconfig", "{kubeconfig}"], "the API server does not answer"),
    ],
)
def test_the_watchdogs_command_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, free_port: int, arguments: list[str], said: str
) -> None:
    path = tmp_path / "kubeconfig"
    clusters = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{free_port}"}}]
    contexts = [{"name": "c", "context": {"cluster": "c", "user": ""}}]
    path.write_text(json.dumps({"clusters": clusters, "contexts": contexts, "users": [], "current-context": "c"}))
    given = [argument.replace("{kubeconfig}", str(path)) for argument in arguments]
    assert main(["--namespace", "models", *given]) == 1
    assert said in capsys.readouterr().err
