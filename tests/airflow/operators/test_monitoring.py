"""Monitoring as tasks: a finding is not a failure, and a champion is retrained once."""

from __future__ import annotations

import json
import threading

import pytest
from airflow.sdk import DAG, Asset

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.operators.monitoring import DecideRetrainingOperator, DetectDriftOperator

POLICY = {"min_rows": 200, "min_days": 10, "day_characters": 10, "calibration_gap": 0.02}
RETRAIN = Asset("test-retrain", uri="mlops://test/retrain")


def write_logs(root, month: str, rate: float, *, version: str = "3", rows_a_day: int = 50):
    """Predictions of 0.2 on twenty days and labels at a rate."""
    predictions, labels = root / "predictions" / "flights" / version, root / "labels" / "flights"
    for folder in (predictions, labels):
        folder.mkdir(parents=True, exist_ok=True)
    with (predictions / f"{month}.jsonl").open("w") as log, (labels / "labels.jsonl").open("a") as arrived:
        for day in range(1, 21):
            late = round(rows_a_day * (rate + (0.04 if day % 2 else -0.04)))
            for row in range(rows_a_day):
                name = f"{month}-{day:02d}-UA-{row}"
                log.write(json.dumps({"id": name, "time": 1.0, "version": version, "prediction": 0.2}) + "\n")
                arrived.write(json.dumps({"id": name, "time": 2.0, "label": int(row < late)}) + "\n")


@pytest.fixture
def monitor(run_dag, tmp_path, artifact_root):
    """One run of the monitor on the logs below ``tmp_path``."""

    def run(name: str, window: str, **changes):
        champion = changes.pop("champion", "3")
        with DAG(name, schedule=None) as dag:
            drift = DetectDriftOperator(
                task_id="detect",
                model_name="flights",
                champion=champion,
                predictions_uri=f"file://{tmp_path}/predictions",
                labels_uri=f"file://{tmp_path}/labels",
                window=window,
                **({"policy": POLICY} | changes),
            )
            DecideRetrainingOperator(
                task_id="decide", drift=drift.output, model_name="flights", champion=champion, outlets=[RETRAIN]
            )
        return run_dag(dag)

    return run


def events() -> list[dict]:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.settings import Session
    from sqlalchemy import select

    query = (
        select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id).where(AssetModel.uri == RETRAIN.uri)
    )
    return [dict(event.extra) for event in Session().scalars(query)]


def test_drift_asks_once_per_champion_and_skips_emit_nothing(monitor, tmp_path, artifact_root):
    write_logs(tmp_path, "2013-05", 0.2)
    write_logs(tmp_path, "2013-06", 0.35)
    before = len(events())

    calm = monitor("monitor_calm", "2013-05")
    assert calm.states == {"detect": "success", "decide": "skipped"}
    assert calm.xcom("detect")["verdict"] == "pass"
    assert len(events()) == before

    fired = monitor("monitor_fired", "2013-06")
    found = fired.xcom("detect")
    assert fired.states == {"detect": "success", "decide": "success"}
    assert (found["drifted"], found["window"], found["champion"]) == (True, "2013-06", "3")
    assert found["checks"][0]["low"] > 0
    (event,) = events()[before:]
    assert (event["model_name"], event["month"], event["champion"]) == ("flights", "2013-06", "3")
    assert "the interval excludes 0" in event["reason"]

    again = monitor("monitor_again", "2013-06")
    assert again.states == {"detect": "success", "decide": "skipped"}
    assert "already asked for while version 3 served" in again.xcom("decide")["reason"]
    assert len(events()) == before + 1

    decisions = [one.decision for one in ArtifactStore(f"file://{artifact_root}").read_evidence("flights")]
    assert decisions == ["drift", "drift", "retraining", "drift"]


def test_too_little_is_neither_a_failure_nor_a_request(monitor, tmp_path):
    write_logs(tmp_path, "2013-06", 0.5, rows_a_day=5)

    run = monitor("monitor_thin", "2013-06")

    assert run.states == {"detect": "success", "decide": "skipped"}
    assert run.xcom("detect")["verdict"] == "inconclusive"


def test_no_predictions_fail_and_are_on_record(monitor, tmp_path, artifact_root, capsys):
    write_logs(tmp_path, "2013-06", 0.5)

    run = monitor("monitor_empty", "2013-09")

    (evidence,) = ArtifactStore(f"file://{artifact_root}").read_evidence("flights")
    assert run.states == {"detect": "failed", "decide": "upstream_failed"}
    assert evidence.verdict.value == "error"
    assert "window 2013-09: no predictions lie in the window" in "".join(capsys.readouterr())


def test_a_reference_is_read_from_the_report_by_its_uri(monitor, tmp_path, artifact_root):
    write_logs(tmp_path, "2013-06", 0.2)
    days = [
        {"day": f"2013-04-{day:02d}", "rows": 100, "label_sum": 20, "prediction_sum": 30 + day % 3, "brier_sum": 16}
        for day in range(1, 31)
    ]
    block = {"rows": 3000, "label_rate": 0.2, "mean_prediction": 0.31, "brier": 0.16, "by_day": days}
    uri = ArtifactStore(f"file://{artifact_root}").write_json({"reference": block}, "evaluations", "one.json")

    run = monitor(
        "monitor_reference",
        "2013-06",
        reference=uri,
        policy={"min_rows": 200, "day_characters": 10, "score_shift": 0.05},
    )

    shift = run.xcom("detect")["checks"][0]
    assert run.xcom("detect")["drifted"]
    assert shift["name"] == "score_shift"
    assert shift["high"] < 0


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (1, {"policy": {"min_rows": 9}}, "a policy without checks shows nothing"),
        (2, {"policy": {"min_rows": 9, "score_shift": 0.1}}, "brier_increase and score_shift compare with it"),
        (3, {"window": ""}, "window: '' is not accepted; expected a prefix of ids such as '2013-06'"),
        (4, {"reference": "/nothing.json"}, "nothing.json: there is no file here"),
        (5, {"champion": "9"}, "no predictions lie in the window"),
    ],
)
def test_wrong_arguments_fail_with_their_reason(monitor, tmp_path, capsys, number, changes, message):
    write_logs(tmp_path, "2013-06", 0.2)
    window = changes.pop("window", "2013-06")

    run = monitor(f"monitor_wrong_{number}", window, **changes)

    assert run.states["detect"] == "failed"
    assert message in "".join(capsys.readouterr())


def test_of_requests_at_the_same_moment_one_wins(artifact_root):
    """Four tasks that all saw an empty record: the chain decides, not the clock."""
    from types import SimpleNamespace

    from airflow_mlops.monitoring.policy import parse_finding

    finding = parse_finding({"verdict": "fail", "window": "2013-06", "champion": "3", "reason": "gap"})
    store, wanted = ArtifactStore(f"file://{artifact_root}"), []
    start = threading.Barrier(4)

    def ask(number: int) -> None:
        ti = SimpleNamespace(dag_id="monitor", run_id=f"run-{number}", task_id="decide", try_number=1, map_index=-1)
        operator = DecideRetrainingOperator(task_id="decide", drift={}, model_name="flights", champion="3")
        start.wait()
        decision, _ = operator.decide({"ti": ti}, store, finding)
        wanted.append(decision.wanted)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(wanted) == [False, False, False, True]
