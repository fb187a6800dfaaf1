"""What Envoy reads: rendered as a whole, changes by other hands seen, unfinished writes finished."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import yaml

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter, write_bootstrap
from airflow_mlops.exceptions import ContractError, SpecificationError, StaleWriteError


@pytest.fixture
def router(tmp_path: Path) -> EnvoyFilesRouter:
    write_bootstrap(tmp_path, listen_port=8100, admin_port=8101)
    router = EnvoyFilesRouter(tmp_path)
    router.ensure_targets("m", {"m-v1": 8201, "m-v2": 8202}, fencing_token=1)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    return router


def _resources(path: Path) -> list[dict]:
    return yaml.safe_load(path.read_text())["resources"]


def test_bootstrap_names_the_ports_and_the_watched_folder(tmp_path: Path) -> None:
    path = write_bootstrap(tmp_path, listen_port=8100, admin_port=8101)
    document = yaml.safe_load(path.read_text())
    assert document["admin"]["address"]["socket_address"]["port_value"] == 8101
    assert document["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] == 8100
    source = document["dynamic_resources"]["cds_config"]["path_config_source"]
    assert source["watched_directory"]["path"] == str(tmp_path.resolve() / "envoy")
    assert _resources(tmp_path / "envoy" / "cds.yaml") == []


def test_bootstrap_again_keeps_the_routes(tmp_path: Path, router: EnvoyFilesRouter) -> None:
    write_bootstrap(tmp_path, listen_port=9100, admin_port=9101)
    assert dict(router.observe("m").weights) == {"m-v1": 90, "m-v2": 10}
    assert router.observe("m").applied


def test_one_cluster_per_target_and_one_weight_per_share(tmp_path: Path, router: EnvoyFilesRouter) -> None:
    clusters = _resources(tmp_path / "envoy" / "cds.yaml")
    assert [cluster["name"] for cluster in clusters] == ["m-v1", "m-v2"]
    (configuration,) = _resources(tmp_path / "envoy" / "rds.yaml")
    (route,) = configuration["virtual_hosts"][0]["routes"]
    assert {c["name"]: c["weight"] for c in route["route"]["weighted_clusters"]["clusters"]} == {
        "m-v1": 90,
        "m-v2": 10,
    }
    assert "5xx" not in route["route"]["retry_policy"]["retry_on"]


def test_a_route_without_weights_answers_503(tmp_path: Path) -> None:
    router = EnvoyFilesRouter(tmp_path)
    router.ensure_targets("m", {"m-v1": 8201}, fencing_token=1)
    (configuration,) = _resources(tmp_path / "envoy" / "rds.yaml")
    assert configuration["virtual_hosts"][0]["routes"][0]["direct_response"]["status"] == 503


@pytest.mark.parametrize("name", ["envoy/rds.yaml", "envoy/cds.yaml"])
def test_an_edit_of_what_envoy_reads_is_reported_and_not_overwritten(
    tmp_path: Path, router: EnvoyFilesRouter, name: str
) -> None:
    path = tmp_path / name
    path.write_text(path.read_text().replace("m-v2", "m-v9"))
    view = router.observe("m")
    assert view.foreign_edits == (f"{path} was edited",)
    with pytest.raises(StaleWriteError, match=f"somebody else changed it: {path} was edited"):
        router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=view.generation)
    assert "m-v9" in path.read_text()


def test_an_edit_of_the_route_is_reported_and_rolling_back_overwrites_it(
    tmp_path: Path, router: EnvoyFilesRouter
) -> None:
    path = tmp_path / "routes" / "m.json"
    document = json.loads(path.read_text())
    document["weights"] = {"m-v2": 100}
    path.write_text(json.dumps(document))
    assert router.observe("m").foreign_edits == (f"{path} was edited",)
    view = router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    assert (dict(view.weights), view.foreign_edits, view.applied) == ({"m-v1": 100}, (), True)


def test_a_write_that_died_before_rendering_is_pending_not_foreign(tmp_path: Path, router: EnvoyFilesRouter) -> None:
    stale = (tmp_path / "envoy" / "rds.yaml").read_text()
    view = router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=2)
    (tmp_path / "envoy" / "rds.yaml").write_text(stale)
    found = router.observe("m")
    assert (found.foreign_edits, found.applied, router.verify("m")) == ((), False, "pending")
    router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=view.generation)
    assert router.verify("m") == "ok"


def test_a_damaged_route_names_the_file(tmp_path: Path, router: EnvoyFilesRouter) -> None:
    (tmp_path / "routes" / "m.json").write_text("{")
    with pytest.raises(ContractError, match=r"m\.json is not JSON"):
        router.observe("m")
    (tmp_path / "routes" / "m.json").write_text('{"rout": "m"}')
    with pytest.raises(ContractError, match=r"m\.json is not a route document: .*did you mean 'route'"):
        router.observe("m")


@pytest.mark.parametrize("name", ["../m", "a/b", "", "m "])
def test_names_that_are_no_file_names_are_refused(router: EnvoyFilesRouter, name: str) -> None:
    with pytest.raises(SpecificationError, match="letters, digits, dots, hyphens and underscores"):
        router.observe(name)
    with pytest.raises(SpecificationError, match="letters, digits, dots, hyphens and underscores"):
        router.ensure_targets("m", {name: 8201}, fencing_token=1)


@pytest.mark.parametrize("port", [0, 70000])
def test_ports_have_to_be_ports(router: EnvoyFilesRouter, port: int) -> None:
    with pytest.raises(SpecificationError, match=r"targets\.m-v3: .* a TCP port"):
        router.ensure_targets("m", {"m-v3": port}, fencing_token=1)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def add(number: int) -> None:
        EnvoyFilesRouter(tmp_path).ensure_targets("m", {f"m-v{number}": 8200 + number}, fencing_token=1)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    view = EnvoyFilesRouter(tmp_path).observe("m")
    assert len(view.targets) == view.generation == 12
    assert view.applied


def test_no_temporary_file_stays(tmp_path: Path, router: EnvoyFilesRouter) -> None:
    names = [path.name for folder in ("routes", "envoy") for path in (tmp_path / folder).iterdir()]
    assert sorted(names) == ["bootstrap.yaml", "cds.yaml", "m.json", "rds.yaml", "start.yaml"]
