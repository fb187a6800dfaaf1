"""Weights and mirrors of VirtualServices, in a real API server with Istio's definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from airflow_mlops.adapters.traffic.istio import IstioRouter
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.mirroring import end_mirror
from airflow_mlops.rollout.routing import Mirror
from airflow_mlops.testing.mirror_conformance import MirrorConformance
from tests.system.kubernetes.definitions import ensure_defined
from tests.system.kubernetes.routed import FencedBehaviours, Json, Objects, Patch

pytestmark = pytest.mark.system

STATIC = {
    "name": "static",
    "match": [{"uri": {"prefix": "/about"}, "headers": {"x-team": {"exact": "a"}}}],
    "route": [
        {"destination": {"host": "about", "port": {"number": 80}}, "weight": 30},
        {"destination": {"host": "about-next"}, "weight": 70},
    ],
    "mirror": {"host": "recorder"},
    "mirrorPercentage": {"value": 12.5},
}


def _managed(name: str, **fields: Any) -> Json:
    return {
        "name": name,
        "match": [{"uri": {"prefix": f"/v2/models/{name}"}}],
        "timeout": "10s",
        "retries": {"attempts": 1, "retryOn": "connect-failure"},
        **fields,
    }


def _http(document: Json, name: str) -> Json:
    (found,) = (http for http in document["spec"]["http"] if http["name"] == name)
    http: Json = found
    return http


def _destinations(document: Json, name: str) -> dict[str, int]:
    return {one["destination"]["host"]: one["weight"] for one in _http(document, name).get("route", [])}


class TestIstioRouter(FencedBehaviours, MirrorConformance):
    @pytest.fixture
    def objects(self, api: Any, namespace: str) -> Iterator[Objects]:
        ensure_defined(api, IstioRouter.kind, "istio-virtualservices.yaml")
        objects = Objects(api.api_client, namespace, IstioRouter.kind)
        yield objects
        objects.delete_all()

    @pytest.fixture
    def router(self, objects: Objects) -> IstioRouter:
        for name in ("m", "other"):
            objects.create(name, {"hosts": [f"{name}.example"], "http": [STATIC, _managed(name)]})
        return IstioRouter(objects.by_way)

    @pytest.fixture
    def another_hand(self, objects: Objects) -> Callable[[str], None]:
        def weigh(route: str) -> None:
            def change(document: Json) -> None:
                for one, weight in zip(_http(document, route)["route"], (20, 80), strict=False):
                    one["weight"] = weight

            objects.edit(route, change)

        return weigh

    @pytest.fixture
    def ours(self, route: str) -> Patch:
        def strip(document: Json) -> None:
            for one in _http(document, route)["route"]:
                del one["weight"]

        return strip

    def test_only_the_named_http_route_is_written(
        self, router: IstioRouter, objects: Objects, begun: int, names: tuple[str, str, str]
    ) -> None:
        document = objects.get("m")
        assert _destinations(document, "m") == {names[0]: 90, names[1]: 10}
        assert _http(document, "static") == STATIC
        assert {k: v for k, v in _http(document, "m").items() if k != "route"} == _managed("m")
        assert router.verify("m") == "ok"

    def test_a_first_target_without_weight_is_not_written_because_it_would_get_everything(
        self, router: IstioRouter, objects: Objects, both: Mapping[str, int]
    ) -> None:
        router.ensure_targets("m", both, fencing_token=1)
        assert _destinations(objects.get("m"), "m") == {}

    def test_what_serves_is_taken_over(self, objects: Objects) -> None:
        serving = {
            "destination": {"host": "m-v1", "port": {"number": 8201}},
            "headers": {"request": {"set": {"a": "b"}}},
        }
        objects.create("m", {"hosts": ["m"], "http": [_managed("m", route=[serving])]})
        router = IstioRouter(objects.by_way)
        assert dict(router.observe("m").weights) == {"m-v1": 100}
        view = router.ensure_targets("m", {"m-v2": 8202}, fencing_token=1)
        assert (dict(view.weights), dict(view.targets)) == ({"m-v1": 100}, {"m-v1": 8201, "m-v2": 8202})
        added = {"destination": {"host": "m-v2", "port": {"number": 8202}}, "weight": 0}
        assert _http(objects.get("m"), "m")["route"] == [serving | {"weight": 100}, added]

    def test_the_next_candidate_starts_from_the_stable_one_after_a_rollback(
        self, router: IstioRouter, objects: Objects, begun: int, names: tuple[str, str, str]
    ) -> None:
        stable, candidate, third = names
        router.set_weights("m", {stable: 100}, fencing_token=1, expected_generation=None)
        view = router.ensure_targets("m", {third: 8203}, fencing_token=2)
        router.set_weights("m", {stable: 80, third: 20}, fencing_token=2, expected_generation=view.generation)
        assert _destinations(objects.get("m"), "m") == {stable: 80, candidate: 0, third: 20}
        with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
            router.set_weights("m", {stable: 100}, fencing_token=1, expected_generation=None)

    def test_a_destination_of_others_stays_and_its_change_is_seen(
        self, router: IstioRouter, objects: Objects, begun: int, names: tuple[str, str, str]
    ) -> None:
        stranger = {"destination": {"host": "stranger"}, "weight": 25}
        objects.edit("m", lambda it: _http(it, "m")["route"].insert(0, stranger))
        (edit,) = router.observe("m").foreign_edits
        assert edit == "backend 'stranger', which is not ours, went from weight 0 to 25"
        with pytest.raises(StaleWriteError, match="stranger"):
            router.set_weights("m", {names[0]: 50, names[1]: 50}, fencing_token=1, expected_generation=begun)
        router.set_weights("m", {names[0]: 100}, fencing_token=1, expected_generation=None)
        assert _destinations(objects.get("m"), "m") == {"stranger": 25, names[0]: 100, names[1]: 0}
        assert router.observe("m").foreign_edits == ()

    def test_a_candidate_that_another_hand_took_away_comes_back_only_for_the_way_back(
        self, router: IstioRouter, objects: Objects, begun: int, names: tuple[str, str, str]
    ) -> None:
        objects.edit("m", lambda it: _http(it, "m")["route"].pop(0))
        seen = router.observe("m")
        assert dict(seen.weights) == {names[1]: 100}, "alone, a destination gets everything in Istio"
        assert seen.foreign_edits
        router.set_weights("m", {names[0]: 100}, fencing_token=1, expected_generation=None)
        assert _destinations(objects.get("m"), "m") == {names[0]: 100, names[1]: 0}

    def test_a_target_moves_to_another_port(
        self, router: IstioRouter, objects: Objects, begun: int, names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets("m", {names[1]: 9000}, fencing_token=1)
        ports = [one["destination"]["port"]["number"] for one in _http(objects.get("m"), "m")["route"]]
        assert ports == [8201, 9000]

    def test_copies_of_requests_end_with_the_next_weights(
        self, router: IstioRouter, objects: Objects, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, candidate, _ = names
        view = router.ensure_targets("m", both, fencing_token=1)
        view = router.set_weights("m", {stable: 100}, fencing_token=1, expected_generation=view.generation)
        view = router.set_mirror("m", candidate, 25, fencing_token=1, expected_generation=view.generation)
        assert (view.mirror, view.foreign_edits) == (Mirror(target=candidate, percent=25), ())
        http = _http(objects.get("m"), "m")
        assert http["mirror"] == {"host": candidate, "port": {"number": both[candidate]}}
        assert http["mirrorPercentage"] == {"value": 25}
        objects.edit("m", lambda it: _http(it, "m")["mirrorPercentage"].update(value=50))
        assert router.observe("m").foreign_edits
        router.set_weights("m", {stable: 100}, fencing_token=1, expected_generation=None)
        assert {"mirror", "mirrorPercentage"} & set(_http(objects.get("m"), "m")) == set()
        assert _http(objects.get("m"), "static") == STATIC

    def test_a_target_that_gets_copies_stays(
        self, router: IstioRouter, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, candidate, _ = names
        router.ensure_targets("m", both, fencing_token=1)
        view = router.set_weights("m", {stable: 100}, fencing_token=1, expected_generation=1)
        router.set_mirror("m", candidate, 25, fencing_token=1, expected_generation=view.generation)
        with pytest.raises(PermanentAdapterError, match=f"'{candidate}' still gets copies of the requests"):
            router.remove_target("m", candidate)
        assert end_mirror(router, "m", token=1)
        assert dict(router.remove_target("m", candidate).targets) == {stable: both[stable]}
        assert not end_mirror(router, "m", token=1)

    def test_a_mirror_of_others_stays(self, router: IstioRouter, objects: Objects, begun: int, route: str) -> None:
        objects.edit("m", lambda it: _http(it, "m").update(mirror={"host": "recorder"}))
        view = router.ensure_targets("m", {"m-v3": 8203}, fencing_token=1)
        assert view.mirror is None
        with pytest.raises(PermanentAdapterError, match="has a mirror of somebody else"):
            router.set_mirror("m", "m-v3", 10, fencing_token=1, expected_generation=view.generation)
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
        assert _http(objects.get("m"), "m")["mirror"] == {"host": "recorder"}

    def test_targets_may_be_subsets_of_one_host(self, objects: Objects) -> None:
        serving = {"destination": {"host": "models.prod.svc.cluster.local", "subset": "m-v1"}}
        objects.create("m", {"hosts": ["m"], "http": [_managed("m", route=[serving])]})
        router = IstioRouter(objects.by_way, host="models.prod.svc.cluster.local", subset="{target}")
        view = router.ensure_targets("m", {"m-v2": 80}, fencing_token=1)
        router.set_weights("m", {"m-v1": 95, "m-v2": 5}, fencing_token=1, expected_generation=view.generation)
        shares = {one["destination"]["subset"]: one["weight"] for one in _http(objects.get("m"), "m")["route"]}
        assert shares == {"m-v1": 95, "m-v2": 5}

    def test_names_that_do_not_fit_what_serves_are_refused(self, objects: Objects) -> None:
        serving = {"destination": {"host": "m-v1.prod.svc.cluster.local"}}
        objects.create("m", {"hosts": ["m"], "http": [_managed("m", route=[serving])]})
        with pytest.raises(PermanentAdapterError, match=r"all requests .* go to m-v1.prod.svc.cluster.local"):
            IstioRouter(objects.by_way).ensure_targets("m", {"m-v2": 80}, fencing_token=1)
        view = IstioRouter(objects.by_way, host="{target}.prod.svc.cluster.local").observe("m")
        assert dict(view.weights) == {"m-v1": 100}

    def test_an_http_route_that_splits_nothing_is_refused(self, objects: Objects) -> None:
        objects.create("m", {"hosts": ["m"], "http": [_managed("m", redirect={"uri": "/"}), _managed("x")]})
        with pytest.raises(PermanentAdapterError, match="has a redirect, it splits no requests"):
            IstioRouter(objects.by_way).observe("m")
        with pytest.raises(PermanentAdapterError, match="no HTTP route named 'y'"):
            IstioRouter(objects.by_way, http_route="y").observe("m")

    def test_a_control_plane_that_reports_is_waited_for(
        self, router: IstioRouter, objects: Objects, begun: int
    ) -> None:
        generation = objects.get("m")["metadata"]["generation"]
        waits = IstioRouter(objects.by_way, reports_status=True)
        assert (router.verify("m"), waits.verify("m")) == ("ok", "pending")
        under_way = {"type": "Reconciled", "status": "False", "reason": "x", "message": "1/2 proxies up to date"}
        done = under_way | {"status": "True"}
        for seen, condition, said in (
            (generation, under_way, "pending"),
            (generation - 1, done, "pending"),
            (generation, done, "ok"),
        ):
            objects.report("m", {"observedGeneration": str(seen), "conditions": [condition]})
            assert waits.verify("m") == said
        with pytest.raises(SpecificationError, match="reports_status: 'yes' is not accepted"):
            IstioRouter(objects.by_way, reports_status="yes")  # type: ignore[arg-type]


def test_where_the_target_stands_has_to_be_said_once() -> None:
    for host, subset in (("models", None), ("{target}", "{target}"), ("models", "v1")):
        with pytest.raises(SpecificationError, match="in one of the two"):
            IstioRouter(None, host=host, subset=subset)  # type: ignore[arg-type]
