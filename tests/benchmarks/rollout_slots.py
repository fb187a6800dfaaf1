"""How long a rollout of ten steps keeps a worker, deferred and not: the time in ``execute`` and ``resume``.

Run by ``python -m tests.benchmarks``; routes and states are files, counters grow by themselves.
"""

from __future__ import annotations

import json
import time

import pytest

pytestmark = pytest.mark.timeout(600)

STEPS, STEP_SECONDS, LOOK_SECONDS = 10, 1.0, 0.25


@pytest.fixture
def gateway(tmp_path, connection, artifact_root, monkeypatch):
    """A gateway's folder with two servers, and counters that follow the route."""
    from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
    from airflow_mlops.codec import encode
    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.rollout.observation import ArmCounters
    from airflow_mlops.rollout.serving import ServerStatus

    directory, serving = tmp_path / "gateway", tmp_path / "serving"
    for name, port in (("flights-v1", 8201), ("flights-v2", 8202)):
        path = serving / "status" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(encode(ServerStatus(name=name, phase="ready", port=port))))
    extra = {"admin_url": "http://127.0.0.1:9", "directory": str(directory), "serving_directory": str(serving)}
    connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", port=9, extra=extra)
    router = EnvoyFilesRouter(directory)
    router.ensure_targets("flights", {"flights-v1": 8201}, fencing_token=0)
    router.set_weights("flights", {"flights-v1": 100}, fencing_token=0, expected_generation=1)
    router.render_missing()
    counted = {"flights-v1": 0, "flights-v2": 0}

    class Counters:
        def read(self, targets, *, slow_ms, tallies=()):
            for name, weight in router.observe("flights").weights.items():
                counted[name] += 50 * weight
            return {name: ArmCounters(requests=counted[name], errors=0, at=time.time()) for name in targets}

    monkeypatch.setattr(ModelGatewayHook, "metrics", lambda _: Counters())


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_time_of_workers(gateway, run_dag, monkeypatch, deferrable):
    from airflow.sdk import DAG

    from airflow_mlops.operators.rollout import CanaryRolloutOperator

    spent = []

    def timed(method):
        def call(self, *args, **kwargs):
            begun = time.perf_counter()
            try:
                return method(self, *args, **kwargs)
            finally:
                spent.append(time.perf_counter() - begun)

        return call

    for name in ("execute", "resume"):
        monkeypatch.setattr(CanaryRolloutOperator, name, timed(getattr(CanaryRolloutOperator, name)))
    steps = [
        {"weight_percent": 5 + 9 * number, "min_seconds": STEP_SECONDS, "min_requests": 50} for number in range(STEPS)
    ]
    with DAG(f"slots_{deferrable}", schedule=None) as dag:
        CanaryRolloutOperator(
            task_id="canary",
            model_name="flights",
            candidate="flights-v2",
            spec={"steps": steps, "look_seconds": LOOK_SECONDS, "error_rate": {"max_increase": 0.1}},
            deferrable=deferrable,
        )
    begun = time.perf_counter()
    run = run_dag(dag)
    whole = time.perf_counter() - begun
    assert run.states == {"canary": "success"}
    what = f"a rollout of {STEPS} steps of {STEP_SECONDS:g} s, {'deferrable' if deferrable else 'sync'}: in a worker"
    print(
        f"\n| {what} | the whole run | {sum(spent):.2f} s in {len(spent)} stays | {whole:.1f} s | "
        f"| {sum(spent) / whole:.2f} | |"
    )
