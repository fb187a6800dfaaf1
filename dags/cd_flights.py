"""Continuous delivery: a registered candidate meets real traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from flights.shared import CANDIDATE, HERE, MODEL_NAME, newest_event

from airflow_mlops.operators import (
    CanaryRolloutOperator,
    CheckModelServerOperator,
    PromoteModelOperator,
    RollBackModelOperator,
    StartModelServerOperator,
    StopModelServersOperator,
)


@dag(
    schedule=[CANDIDATE],
    catchup=False,
    max_active_runs=1,
    tags=["mlops", "cd", "flights"],
    default_args={"retries": 6, "retry_delay": timedelta(seconds=10)},
    params={
        "version": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d+$",
            title="Registered version",
            description="Empty: the version that ct_flights registered.",
        ),
        "faults": Param(
            {},
            type="object",
            title="Fire drill",
            description="Faults of the candidate's server: error_rate (0 to 1) and delay_ms.",
            properties={
                "error_rate": {"type": "number", "minimum": 0, "maximum": 1},
                "delay_ms": {"type": "integer", "minimum": 0},
            },
            additionalProperties=False,
        ),
    },
)
def cd_flights() -> None:
    """
    ### From a candidate to the champion, or back

    Starts the candidate's server beside the champion's, **checks** that it answers as it did offline, then moves
    live traffic to it in **steps**. Errors and latency are judged from Envoy's own counters: harm rolls back at once,
    a step ends only when the candidate is shown to be no worse. At the end the alias `champion` moves.

    The `faults` parameter is a fire drill: it makes the candidate fail or slow, and the canary has to notice.
    """

    @task
    def release(params: dict[str, Any], triggering_asset_events: Any = None) -> dict[str, Any]:
        """Look up what is to be released."""
        from airflow_mlops.codec import encode
        from airflow_mlops.hooks.mlflow import MLflowHook

        number = params["version"] or newest_event(triggering_asset_events, CANDIDATE).get("version")
        if not number:
            raise ValueError("version: None is not accepted; expected a registered version such as 3")
        registry = MLflowHook().registry()
        champion = registry.by_alias(MODEL_NAME, "champion")
        version = registry.version(MODEL_NAME, str(number))
        return {
            "version": version.version,
            "model": encode(version.model),
            "champion": champion.version if champion else None,
            "faults": params["faults"],
        }

    released = release()
    started = StartModelServerOperator(
        task_id="start_server",
        model_name=MODEL_NAME,
        version=released["version"],
        model=released["model"],
        faults=released["faults"],
    )
    checked = CheckModelServerOperator(
        task_id="check_server",
        model_name=MODEL_NAME,
        server=started.output["server"],
        model=released["model"],
    )
    canary = CanaryRolloutOperator(
        task_id="canary",
        model_name=MODEL_NAME,
        candidate=started.output["server"],
        spec=str(HERE / "rollout.yaml"),
    )
    promoted = PromoteModelOperator(
        task_id="promote",
        model_name=MODEL_NAME,
        version=released["version"],
        expected_champion=released["champion"],
        retries=10,
    )
    rejected = RollBackModelOperator(
        task_id="reject",
        model_name=MODEL_NAME,
        version=released["version"],
        trigger_rule="one_failed",
    )
    retired = StopModelServersOperator(task_id="retire_servers", model_name=MODEL_NAME).as_teardown()
    checked >> canary >> promoted
    [started, checked, canary] >> rejected
    [promoted, rejected] >> retired


cd_flights()
