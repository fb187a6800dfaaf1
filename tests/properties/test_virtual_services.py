"""Whatever else stands in a VirtualService, a router leaves it alone, and its own targets have the shares asked for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.istio import IstioRouter
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes

pytest.importorskip("kubernetes")

TARGETS = ("a", "b", "c")

strangers = st.builds(
    lambda name, weight, more: {"destination": {"host": f"{name}.elsewhere"}, **weight, **more},
    st.sampled_from(["x", "y", "z"]),
    st.sampled_from([{}, {"weight": 0}, {"weight": 7}, {"weight": 100}]),
    st.sampled_from([{}, {"headers": {"request": {"set": {"k": "v"}}}}]),
)
other_routes = st.builds(lambda name, route: {"name": name, "route": route}, st.just("static"), st.lists(strangers))
shares = st.integers(0, 100).map(lambda percent: {"a": 100 - percent, "b": percent})
moves = st.lists(
    st.one_of(
        shares.map(lambda weights: ("weigh", weights)),
        st.sampled_from(TARGETS).map(lambda name: ("know", name)),
        st.sampled_from(TARGETS).map(lambda name: ("forget", name)),
        st.tuples(st.just("copy"), st.integers(1, 100)),
    ),
    max_size=8,
)


def effective(entries: list[dict[str, Any]]) -> dict[str, int]:
    """What each host gets of the requests, as Istio reads weights: a single destination gets them all."""
    if len(entries) == 1:
        return {entries[0]["destination"]["host"]: 1}
    return {one["destination"]["host"]: one["weight"] for one in entries if one.get("weight")}


@settings(max_examples=150)
@given(st.lists(strangers, max_size=3), st.lists(other_routes, max_size=2), st.integers(0, 2), moves)
def test_strangers_stay_and_targets_get_their_shares(
    beside: list[dict[str, Any]], others: list[dict[str, Any]], place: int, moves: list[tuple[str, Any]]
) -> None:
    mine = {
        "name": "m",
        "timeout": "3s",
        "route": [*beside[:place], {"destination": {"host": "a"}, "weight": 90}, *beside[place:]],
    }
    http = [*others[:1], mine, *others[1:]]
    objects = KubernetesObjects(MemoryKubernetes(), "models")
    manifest = {"metadata": {"name": "m"}, "spec": {"hosts": ["m"], "http": copy.deepcopy(http)}}
    objects.create(IstioRouter.kind, manifest)
    router = IstioRouter(objects)
    view = router.ensure_targets("m", dict.fromkeys(TARGETS, 80), fencing_token=1)
    wanted = {"a": 100}
    for move, value in moves:
        seen = router.observe("m").generation
        if move == "weigh" and "b" in view.targets:
            wanted = {name: weight for name, weight in value.items() if weight}
            view = router.set_weights("m", wanted, fencing_token=1, expected_generation=seen)
        elif move == "know":
            view = router.ensure_targets("m", {value: 80}, fencing_token=1)
        elif move == "forget" and value not in wanted and (view.mirror is None or view.mirror.target != value):
            view = router.remove_target("m", value)
        elif move == "copy" and "c" in view.targets:
            view = router.set_mirror("m", "c", value, fencing_token=1, expected_generation=seen)
        if "a" not in view.targets:
            view = router.ensure_targets("m", {"a": 80}, fencing_token=1)
        assert (dict(view.weights), view.foreign_edits) == (wanted, ())
    router.set_weights("m", {"a": 100}, fencing_token=1, expected_generation=None)

    document = objects.get(IstioRouter.kind, "m")
    assert document is not None
    after = list(document["spec"]["http"])
    assert [one for one in after if one["name"] != "m"] == others
    (own,) = (one for one in after if one["name"] == "m")
    assert {key: value for key, value in own.items() if key != "route"} == {"name": "m", "timeout": "3s"}
    assert [one for one in own["route"] if one["destination"]["host"] not in TARGETS] == beside
    ours = {host: weight for host, weight in effective(own["route"]).items() if host in TARGETS}
    assert list(ours) == ["a"]
