"""Metrics for operations, as a StatsD server and an OpenTelemetry reader receive them."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks import metrics
from airflow_mlops.hooks.metrics import METRICS, Looks, in_task, in_triggerer
from airflow_mlops.operators.monitoring import DecideRetrainingOperator, DetectDriftOperator
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.rollout.step import abort
from airflow_mlops.verdict import Verdict
from tests.airflow.operators.test_monitoring import POLICY, write_logs

DOCS = Path(__file__).parents[2] / "docs/metrics.md"


def test_the_table_says_what_the_code_tells():
    section = DOCS.read_text().split("## Names\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    table = {
        cells[0].strip(" `"): (
            cells[1].strip(),
            cells[2].strip(),
            tuple(cells[3].replace("`", "").replace(" ", "").split(",")),
        )
        for cells in lines
    }
    assert table == {metric.name: (metric.kind, metric.unit, metric.tags) for metric in METRICS}


@pytest.fixture
def statsd(monkeypatch):
    """A StatsD server, and Airflow's two clients set up for it by Airflow's own code; what it has received."""
    pytest.importorskip("statsd")
    from airflow._shared.observability.metrics import stats as core
    from airflow.observability.metrics.stats_utils import get_stats_factory as core_factory
    from airflow.sdk._shared.observability.metrics import stats as sdk
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory as sdk_factory

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        settings = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(server.getsockname()[1])}
        for name, value in {**settings, "STATSD_INFLUXDB_ENABLED": "True", "STATSD_PREFIX": "airflow"}.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__{name}", value)
        for module, factory in ((core, core_factory), (sdk, sdk_factory)):
            module.initialize(factory=factory(), export_legacy_names=False)

        def received() -> set[str]:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"end", server.getsockname())
            lines: set[str] = set()
            while (line := server.recv(4096).decode()) != "end":
                if line.startswith("airflow.mlops."):
                    lines.add(line)
            return lines

        yield received
        for module in (core, sdk):
            if module._backend is not None:
                module._backend.statsd.close()
            # As they are where nobody has set them up; monkeypatch would bring back what was set up here.
            module._backend = module._factory = None


def test_tasks_tell_what_they_decided(run_dag, statsd, tmp_path, artifact_root):
    write_logs(tmp_path, "2013-06", 0.35)
    with DAG("metrics", schedule=None) as dag:
        drift = DetectDriftOperator(
            task_id="detect",
            model_name="flights",
            champion="3",
            predictions_uri=f"file://{tmp_path}/predictions",
            labels_uri=f"file://{tmp_path}/labels",
            window="2013-06",
            policy=POLICY,
        )
        DecideRetrainingOperator(task_id="decide", drift=drift.output, model_name="flights", champion="3")
    assert run_dag(dag).states == {"detect": "success", "decide": "success"}
    lines = statsd()
    assert "airflow.mlops.decisions,decision=drift,verdict=fail,subject=flights:1|c" in lines
    assert "airflow.mlops.decisions,decision=retraining,verdict=pass,subject=flights:1|c" in lines
    assert "airflow.mlops.retraining,model=flights,wanted=True:1|c" in lines
    assert "airflow.mlops.drift.found,model=flights:1.0|g" in lines
    assert "airflow.mlops.drift.threshold,model=flights,check=calibration_gap:0.02|g" in lines


SPEC = RolloutSpec(steps=(CanaryStep(weight_percent=10), CanaryStep(weight_percent=50)))


def rollout():
    return begin(spec=SPEC, model_name="flights", candidate="v2", stable="v1", now=time.time() - 30)


def test_a_trigger_tells_where_its_rollout_stands(statsd, tmp_path, monkeypatch):
    """The trigger's own look, with a gateway that has just judged."""
    from airflow_mlops.triggers.rollout import RolloutTrigger

    class Judged:
        def look(self, route, *, token):
            plan = Plan(action="hold", weights={"v2": 10, "v1": 90}, verdict=Verdict.INCONCLUSIVE, reason="r")
            return rollout(), plan

    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", f"file://{tmp_path}")
    task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    trigger = RolloutTrigger(gateway_conn_id="g", route="flights", token=1, look_seconds=1.0, task=task)
    assert asyncio.run(trigger._look(Judged())) is None
    lines = statsd()
    assert {
        "airflow.mlops.rollout.looks,model=flights,verdict=inconclusive:1|c",
        "airflow.mlops.rollout.lease_renewals,model=flights:1|c",
        "airflow.mlops.rollout.under_way,model=flights:1.0|g",
        "airflow.mlops.rollout.weight,model=flights:10|g",
        "airflow.mlops.rollout.step,model=flights:1|g",
        "airflow.mlops.rollout.unknown_seconds,model=flights:0.0|g",
        "airflow.mlops.rollout.awaits_approval,model=flights:0.0|g",
    } <= lines
    (exposure,) = [line for line in lines if "exposure_seconds" in line]
    assert 30 <= float(exposure.partition(":")[2].removesuffix("|g")) < 300


def test_a_look_that_stores_nothing_renews_no_lease(statsd):
    state, plan = rollout(), Plan(action="hold", weights={}, verdict=Verdict.INCONCLUSIVE, reason="r")
    looks = Looks(in_triggerer)
    looks.tell(state, plan)
    looks.tell(state, plan)
    looks._telling = in_task
    looks.tell(state, plan)
    assert len([line for line in statsd() if "lease_renewals" in line]) == 1


def test_the_end_of_a_rollout_has_a_cause(statsd):
    in_task().ended(abort(rollout(), time.time(), "enough"))
    lines = statsd()
    assert "airflow.mlops.rollout.ended,model=flights,outcome=rolled_back,cause=aborted:1|c" in lines
    assert "airflow.mlops.rollout.under_way,model=flights:0.0|g" in lines
    assert "airflow.mlops.rollout.weight,model=flights:0|g" in lines
    (exposed,) = [line for line in lines if line.startswith("airflow.mlops.rollout.exposed,")]
    assert exposed.endswith("|ms")


def test_values_that_would_break_a_line_are_tamed(statsd):
    in_task().decided("gate", "a b:c,d=e|f\n" + "x" * 300, "pass")
    (line,) = statsd()
    assert line == "airflow.mlops.decisions,decision=gate,verdict=pass,subject=a_b_c_d_e_f_" + "x" * 48 + ":1|c"


def test_opentelemetry_gets_the_tags_as_attributes(monkeypatch):
    from airflow.sdk._shared.observability.metrics import stats
    from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(stats, "_backend", SafeOtelLogger(provider))
    in_task().decided("gate", "flights", "fail")
    in_task().gauge(metrics.ROLLOUT_WEIGHT, 25, model="flights")
    found = {
        metric.name: metric.data.data_points[0]
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    decided = found["airflow.mlops.decisions"]
    assert (decided.value, dict(decided.attributes)) == (
        1,
        {"decision": "gate", "verdict": "fail", "subject": "flights"},
    )
    assert found["airflow.mlops.rollout.weight"].value == 25


def test_a_metric_is_told_as_it_is_documented():
    with pytest.raises(ContractError, match=r"mlops\.decisions is a counter with the tags decision, verdict, subject"):
        in_task().count(metrics.DECISIONS, decision="gate")
