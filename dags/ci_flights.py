"""Continuous integration: what every commit of the pipelines must pass."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task
from flights.shared import HERE, MODEL_NAME, MONTH_PARAM, TARGET, partition_uri

from airflow_mlops.operators import EvaluateModelOperator, SnapshotDatasetOperator, TrainLocallyOperator


@dag(
    schedule=None,
    catchup=False,
    tags=["mlops", "ci", "flights"],
    params={
        "month": Param("2013-01", type="string", pattern=MONTH_PARAM["pattern"], title="Month to sample"),
        "rows": Param(3000, type="integer", minimum=500, title="Rows of the sample"),
    },
)
def ci_flights() -> None:
    """
    ### What a commit must pass

    All DAG files parse and hold no cycle, the training script trains on a **sample**, and the model that it leaves
    keeps its **contract**: it loads by digest, answers its smoke rows as it did in training, and can be evaluated.
    """

    @task
    def check_dags() -> dict[str, int]:
        """Parse every DAG file as the DAG processor does."""
        from airflow.dag_processing.dagbag import BundleDagBag

        bag = BundleDagBag(dag_folder=str(HERE.parent), bundle_path=HERE.parent)
        if bag.import_errors:
            raise ValueError("DAG files do not parse: " + "; ".join(f"{k}: {v}" for k, v in bag.import_errors.items()))
        return {dag_id: len(one.tasks) for dag_id, one in bag.dags.items()}

    @task
    def sample(params: dict[str, Any]) -> list[dict[str, str]]:
        """Draw rows for training and for the check; a fixed seed, so that a commit is judged by its code."""
        import pandas as pd

        from airflow_mlops.hooks.artifacts import ArtifactStore

        frame = pd.read_parquet(partition_uri(params["month"]).removeprefix("file://"))
        drawn = frame.sample(n=min(2 * params["rows"], len(frame)), random_state=1)
        store, parts = ArtifactStore.from_config(), []
        for role, rows in (("train", drawn[: len(drawn) // 2]), ("holdout", drawn[len(drawn) // 2 :])):
            target = store.path("ci", MODEL_NAME, f"{params['month']}-{params['rows']}-{role}.parquet")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                rows.to_parquet(stream, index=False)
            parts.append({"uri": str(target), "partition": role})
        return parts

    @task
    def split(snapshots: list[dict[str, Any]]) -> dict[str, Any]:
        """One part trains, the other judges."""
        return {str(snapshot["partition"]): snapshot for snapshot in snapshots}

    checked = check_dags()
    sampled = sample()
    checked >> sampled
    snapshots = SnapshotDatasetOperator.partial(task_id="snapshot").expand_kwargs(sampled)
    data = split(snapshots.output)
    trained = TrainLocallyOperator(
        task_id="smoke_train",
        model_name=MODEL_NAME,
        entrypoint=str(HERE / "train.py"),
        datasets={"train": [data["train"]]},
        parameters={"max_iter": 10},
    )
    EvaluateModelOperator(
        task_id="model_contract",
        model_name=MODEL_NAME,
        candidate=trained.output["model"],
        champion=None,
        dataset=data["holdout"],
        target=TARGET,
    )


ci_flights()
