"""The stories of the demonstration, shortened: the example pipelines in Airflow against the real embedded stack.

Each test makes what it needs, so that any of them can run alone; what is expensive (the first champion) is shared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.governance.versions import ModelVersion
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.mlflow import MLflowHook
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.trace import longest_outage, read_trace, shares

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

QUICK: dict[str, Any] = {}


def alias(name: str) -> ModelVersion | None:
    return MLflowHook().registry().by_alias("flights", name)


def weights(home: LocalHome) -> dict[str, int]:
    path = home.gateway / "routes" / "flights.json"
    return dict(json.loads(path.read_text())["weights"]) if path.exists() else {}


def serving(home: LocalHome) -> set[str]:
    return {path.stem for path in home.servers_desired.glob("*.json")}


@pytest.fixture
def champion(home: LocalHome, pipelines: Callable[..., Any]) -> ModelVersion:
    """The version that serves when the test begins; the first one is trained on January and February."""
    if alias("champion") is None:
        trained = pipelines("ct_flights", month="2013-02", hyperparameters=QUICK)
        assert trained.state == "success", trained.states
        released = pipelines("cd_flights", version=trained.xcom("register")["version"])
        assert released.state == "success", released.states
    version = alias("champion")
    assert version is not None
    assert weights(home) == {f"flights-v{version.version}": 100}
    return version


@pytest.fixture
def candidate(champion: ModelVersion, pipelines: Callable[..., Any]) -> str:
    """A version that passed the gate against the champion."""
    trained = pipelines("ct_flights", month="2013-03", hyperparameters=QUICK)
    assert trained.state == "success", trained.states
    assert trained.xcom("gate")["verdict"] == "pass"
    return str(trained.xcom("register")["version"])


def test_a_better_model_is_promoted_under_traffic(
    home: LocalHome, champion: ModelVersion, candidate: str, pipelines: Callable[..., Any], traffic: Callable[..., Path]
) -> None:
    trace, began = traffic("2013-05"), time.time()
    run = pipelines("cd_flights", version=candidate)
    assert run.state == "success", run.states
    now = alias("champion")
    assert now is not None
    assert now.version == candidate
    assert alias("challenger") is None
    assert weights(home) == {f"flights-v{candidate}": 100}
    assert serving(home) == {f"flights-v{candidate}"}
    time.sleep(1.5)
    assert longest_outage(read_trace([trace], since=began)) is None
    kinds = [record.decision for record in ArtifactStore.from_config().read_evidence("flights")]
    assert {"gate", "registration", "rollout", "promotion"} <= set(kinds)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("schema", "distance"), ("delays", "dep_delay"), ("missing", "carrier")],
)
def test_a_corrupted_month_stops_at_validation(
    fault: str,
    words: str,
    home: LocalHome,
    pipelines: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from demo.flights import corrupt_partition, partition_path

    for month in ("2013-01", "2013-02"):
        path = partition_path(tmp_path, month)
        path.parent.mkdir(parents=True)
        path.symlink_to(partition_path(home.data, month))
    damaged = partition_path(tmp_path, "2013-01")
    damaged.unlink()
    corrupt_partition(partition_path(home.data, "2013-01"), damaged, fault)
    run = pipelines("ct_flights", month="2013-01", source=f"file://{tmp_path}/flights")
    assert run.state == "failed"
    assert run.states["validate[0]"] == "failed"
    assert run.states["validate[1]"] == "success"
    for later in ("train", "evaluate", "gate", "register"):
        assert run.states[later] in {"upstream_failed", "None"}, run.states
    report = run.xcom("validate", map_index=0)
    assert any(words in json.dumps(rule) for rule in report["failed"])
    page = Path(report["report_uri"].removeprefix("file://")).read_text()
    assert words in page


def test_a_worse_candidate_stops_at_the_gate(
    home: LocalHome, champion: ModelVersion, pipelines: Callable[..., Any]
) -> None:
    before = weights(home)
    run = pipelines("ct_flights", month="2013-03", hyperparameters={**QUICK, "label_noise": 0.5})
    assert run.state == "failed"
    assert run.states["gate"] == "failed"
    assert run.states["register"] in {"upstream_failed", "None"}
    gate = ArtifactStore.from_config().read_evidence("flights")[-1]
    assert gate.decision == "gate"
    assert gate.verdict.value == "fail"
    broken = [check for check in gate.checks if check.verdict.value == "fail"]
    assert broken
    assert all(check.low is not None and check.high is not None and check.sample_size for check in broken)
    assert alias("champion") == champion
    assert weights(home) == before


@pytest.mark.parametrize("faults", [{"error_rate": 0.25}, {"delay_ms": 400}], ids=["errors", "slow"])
def test_a_candidate_that_fails_under_traffic_is_rolled_back(
    faults: dict[str, float],
    home: LocalHome,
    champion: ModelVersion,
    candidate: str,
    pipelines: Callable[..., Any],
    traffic: Callable[..., Path],
) -> None:
    trace, began = traffic("2013-05"), time.time()
    run = pipelines("cd_flights", version=candidate, faults=faults)
    assert run.state == "failed"
    assert run.states["canary"] == "failed"
    assert run.states["reject"] == "success"
    assert alias("champion") == champion
    assert alias("challenger") is None
    assert weights(home) == {f"flights-v{champion.version}": 100}
    assert serving(home) == {f"flights-v{champion.version}"}
    answers = read_trace([trace], since=began)
    share = shares(answers).get(f"flights-v{candidate}", 0.0)
    # The first step gives it a tenth, and harm like this never reaches the second.
    assert 0 < share <= 0.10 + 4 * (0.1 * 0.9 / len(answers)) ** 0.5


@pytest.fixture
def champion_of_spring(champion: ModelVersion, pipelines: Callable[..., Any], traffic: Callable[..., Path]) -> None:
    """A champion of January to March: it is known which of the months after are drift to it."""
    if champion.tags["mlops.partitions.train"] != "2013-01, 2013-02, 2013-03":
        trained = pipelines("ct_flights", month="2013-03", hyperparameters=QUICK)
        assert trained.state == "success", trained.states
        traffic("2013-04")
        released = pipelines("cd_flights", version=trained.xcom("register")["version"])
        assert released.state == "success", released.states


def test_the_monitor_asks_for_one_retraining_when_the_world_changed(
    home: LocalHome, champion_of_spring: None, pipelines: Callable[..., Any], traffic: Callable[..., Path]
) -> None:
    fired = {}
    for month in ("2013-05", "2013-06"):
        traffic(month, requests=2400, loop=False, rate=90.0)
        labels, deadline = home.labels / "flights" / "labels.jsonl", time.monotonic() + 90
        while not labels.exists() or labels.read_text().count(f'"{month}-') < 2350:
            assert time.monotonic() < deadline, f"labels of {month} did not arrive"
            time.sleep(0.5)
        looks = [pipelines("monitor_flights", month=month) for _ in range(2)]
        fired[month] = [look.states["decide_retraining"] for look in looks]
        assert [look.state for look in looks] == ["success", "success"]
    assert fired == {"2013-05": ["skipped", "skipped"], "2013-06": ["success", "skipped"]}


def test_what_a_commit_runs_passes(home: LocalHome, pipelines: Callable[..., Any]) -> None:
    run = pipelines("ci_flights")
    assert run.state == "success", run.states
    assert run.xcom("check_dags") == {"cd_flights": 7, "ci_flights": 12, "ct_flights": 10, "monitor_flights": 3}
    assert run.states["build_image"] == "skipped", "nobody asked for images"
