"""Monitoring: has the world changed since the champion was judged?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from flights.shared import HERE, MODEL_NAME, MONTH_PARAM, RETRAIN

from airflow_mlops.operators import DecideRetrainingOperator, DetectDriftOperator


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    tags=["mlops", "monitoring", "flights"],
    default_args={"retries": 6, "retry_delay": timedelta(seconds=10)},
    params={
        "month": Param(
            None,
            type=MONTH_PARAM["type"],
            pattern=MONTH_PARAM["pattern"],
            title="Month to look at",
            description="Its predictions and labels are compared with those the champion was judged on.",
        )
    },
)
def monitor_flights() -> None:
    """
    ### Does the champion still know the world?

    Joins the champion's **predictions** with the **labels** that came later and compares the month with the one that
    the champion was judged on. When the interval shows a change that matters, a **retraining** is asked for: once per
    champion, so that a lasting change does not start one every day.
    """

    @task
    def champion(params: dict[str, Any]) -> dict[str, Any]:
        """Find the serving model, what it was judged on, and where its predictions and labels lie."""
        from pathlib import Path

        from airflow.sdk.configuration import conf

        from airflow_mlops.hooks.mlflow import MLflowHook

        if not params["month"]:
            raise ValueError("month: None is not accepted; expected a month such as 2013-06")
        version = MLflowHook().registry().by_alias(MODEL_NAME, "champion")
        if version is None:
            raise ValueError(f"model {MODEL_NAME!r} has no alias 'champion' yet: release a first version")
        home = Path(conf.get("mlops", "local_home")).resolve()
        return {
            "version": version.version,
            "reference": version.tags["mlops.evaluation_uri"],
            "predictions": f"file://{home}/predictions",
            "labels": f"file://{home}/labels",
        }

    known = champion()
    drift = DetectDriftOperator(
        task_id="detect_drift",
        model_name=MODEL_NAME,
        champion=known["version"],
        predictions_uri=known["predictions"],
        labels_uri=known["labels"],
        reference=known["reference"],
        window="{{ params.month }}",
        policy=str(HERE / "monitor.yaml"),
    )
    DecideRetrainingOperator(
        task_id="decide_retraining",
        model_name=MODEL_NAME,
        champion=known["version"],
        drift=drift.output,
        outlets=[RETRAIN],
    )


monitor_flights()
