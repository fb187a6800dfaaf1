"""Continuous training: from the months' flights to a registered candidate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task
from flights.shared import (
    CANDIDATE,
    HERE,
    MODEL_NAME,
    MONTH_PARAM,
    RETRAIN,
    TARGET,
    months_after,
    newest_event,
    partition_uri,
)

from airflow_mlops.operators import (
    ModelCardOperator,
    ModelGateOperator,
    RegisterModelOperator,
    SnapshotDatasetOperator,
    ValidateDataOperator,
)
from airflow_mlops.operators.backends import evaluate, train

TRAINING_MONTHS = 3
FIRST_MONTH = "2013-01"


@dag(
    schedule=[RETRAIN],
    catchup=False,
    max_active_runs=1,
    tags=["mlops", "ct", "flights"],
    default_args={"retries": 6, "retry_delay": timedelta(seconds=10)},
    params={
        "month": Param(
            None,
            type=MONTH_PARAM["type"],
            pattern=MONTH_PARAM["pattern"],
            title="Newest training month",
            description="Empty: the month that the monitor's request names.",
        ),
        "source": Param(
            None,
            type=["null", "string"],
            title="Folder of the partitions",
            description="URI; empty: data/flights of the embedded stack.",
        ),
        "hyperparameters": Param({}, type="object", title="Hyperparameters", description="Handed to flights/train.py."),
    },
)
def ct_flights() -> None:
    """
    ### From data to a registered candidate

    Takes the flights of the newest month and up to two before it, **validates** every month with Great Expectations,
    **trains** in the model environment, **evaluates** candidate and champion on the month after, which neither has
    seen, and lets the **gate** decide with intervals. What passes is registered as `challenger`; that starts
    `cd_flights`. Its **card** tells what is known of it, and what nobody has said. The setting `[mlops] backend` says
    where to train and evaluate: here, in Docker or on Kubernetes.

    Start it by hand with `month`, or let `monitor_flights` ask for it.
    """

    @task
    def plan(params: dict[str, Any], triggering_asset_events: Any = None) -> list[dict[str, str]]:
        """Decide which months to look at: those to train on, and the one after them."""
        month = params["month"] or newest_event(triggering_asset_events, RETRAIN).get("month")
        if not month:
            raise ValueError("month: None is not accepted; expected a month such as 2013-03, or a monitor's request")
        training = [months_after(month, -back) for back in reversed(range(TRAINING_MONTHS))]
        months = [*(one for one in training if one >= FIRST_MONTH), months_after(month, 1)]
        return [{"uri": partition_uri(one, params["source"]), "partition": one} for one in months]

    @task
    def split(snapshots: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
        """All months but the newest train; the newest judges."""
        ordered = sorted(snapshots, key=lambda snapshot: str(snapshot["partition"]))
        return {"training": ordered[:-1], "holdout": ordered[-1], "hyperparameters": params["hyperparameters"]}

    @task
    def champion() -> dict[str, Any] | None:
        """Read which model serves now; None before the first release."""
        from airflow_mlops.codec import encode
        from airflow_mlops.hooks.mlflow import MLflowHook

        version = MLflowHook().registry().by_alias(MODEL_NAME, "champion")
        return encode(version.model) if version else None

    snapshots = SnapshotDatasetOperator.partial(task_id="snapshot").expand_kwargs(plan())
    validated = ValidateDataOperator.partial(task_id="validate", suite=str(HERE / "suite.yaml")).expand(
        dataset=snapshots.output
    )
    data = split(snapshots.output)
    validated >> data
    trained = train(
        task_id="train",
        model_name=MODEL_NAME,
        entrypoint=str(HERE / "train.py"),
        datasets={"train": data["training"]},
        parameters=data["hyperparameters"],
        mlflow_conn_id="mlflow_default",
    )
    evaluated = evaluate(
        task_id="evaluate",
        model_name=MODEL_NAME,
        candidate=trained.output["model"],
        champion=champion(),
        dataset=data["holdout"],
        target=TARGET,
        slices=["origin"],
        diagnostics=str(HERE / "diagnostics.yaml"),
        training_data=data["training"],
    )
    judged = ModelGateOperator(
        task_id="gate",
        model_name=MODEL_NAME,
        evaluation=evaluated.output,
        policy=str(HERE / "gate.yaml"),
        retries=0,
    )
    registered = RegisterModelOperator(
        task_id="register",
        model_name=MODEL_NAME,
        model=trained.output["model"],
        mlflow_run_id=trained.output["mlflow_run_id"],
        evaluation=evaluated.output,
        gate=judged.output,
        datasets={"train": data["training"], "holdout": data["holdout"]},
        outlets=[CANDIDATE],
    )
    ModelCardOperator(
        task_id="card",
        model_name=MODEL_NAME,
        model=registered.output["model"],
        version=registered.output["version"],
        card=str(HERE / "card.yaml"),
        validation=validated.output,
    )


ct_flights()
