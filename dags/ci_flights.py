"""Continuous integration: what every commit of the pipelines must pass."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, Param, dag, task
from flights.shared import HERE, MODEL_NAME, MONTH_PARAM, TARGET, partition_uri

from airflow_mlops.operators import (
    BuildImageOperator,
    CheckImageOperator,
    EvaluateModelOperator,
    SnapshotDatasetOperator,
    TrainInDockerOperator,
    TrainLocallyOperator,
    WriteImageBillOperator,
)

#: An image that trained; its events name it by digest.
TRAINER_IMAGE = Asset("flights-trainer-image", uri="mlops://flights/trainer-image")
SMOKE = {"max_iter": 10}


@dag(
    schedule=None,
    catchup=False,
    tags=["mlops", "ci", "flights"],
    params={
        "month": Param("2013-01", type="string", pattern=MONTH_PARAM["pattern"], title="Month to sample"),
        "rows": Param(3000, type="integer", minimum=500, title="Rows of the sample"),
        "images": Param(
            False,
            type="boolean",
            title="Build and try the trainer's image",
            description="Needs a Docker engine that sees the artefact store at the same paths; fails without one.",
        ),
        "tag": Param("mlops-trainer:ci", type="string", minLength=1, title="Name of the image"),
        "revision": Param("unknown", type="string", minLength=1, title="Revision of the source, kept as a label"),
        "base_image": Param(
            "python:3.11-slim-bookworm", type="string", minLength=1, title="What the image is built on"
        ),
        "network": Param(
            None, type=["null", "string"], title="Network of the build", description="Empty: the engine's default."
        ),
    },
)
def ci_flights() -> None:
    """
    ### What a commit must pass

    All DAG files parse and hold no cycle, the training script trains on a **sample**, and the model that it leaves
    keeps its **contract**: it loads by digest, answers its smoke rows as it did in training, and can be evaluated.

    With `images`, the trainer's **image** is built, passes its own tests, gets its bill of materials and trains on the
    same sample; the asset *flights-trainer-image* then names it by digest.
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

    @task.short_circuit
    def images_wanted(params: dict[str, Any]) -> bool:
        """Whoever wants images gets them or a failure: an engine that is away must not look like a passed check."""
        if not params["images"]:
            print("images is false: no image is built, checked or tried in this run")  # noqa: T201 - the task's log
        return bool(params["images"])

    @task(outlets=[TRAINER_IMAGE])
    def record_image(
        built: dict[str, Any],
        bill: dict[str, Any],
        tried: dict[str, Any],
        *,
        params: dict[str, Any],
        outlet_events: Any,
    ) -> dict[str, Any]:
        """Keep which image passed, what is in it, and what it trained."""
        recorded = {name: built[name] for name in ("image", "reference", "context_digest")}
        recorded |= {"revision": params["revision"], "bill": bill["bill"]}
        recorded |= {name: tried[name] for name in ("model", "metrics")}
        outlet_events[TRAINER_IMAGE].extra = recorded
        return recorded

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
        parameters=SMOKE,
    )
    EvaluateModelOperator(
        task_id="model_contract",
        model_name=MODEL_NAME,
        candidate=trained.output["model"],
        champion=None,
        dataset=data["holdout"],
        target=TARGET,
    )

    wanted = images_wanted()
    built = BuildImageOperator(
        task_id="build_image",
        folder=str(HERE.parent.parent),
        dockerfile="docker/trainer/Dockerfile",
        tag="{{ params.tag }}",
        build_args={"BASE_IMAGE": "{{ params.base_image }}"},
        labels={"org.opencontainers.image.revision": "{{ params.revision }}"},
        network="{{ params.network or '' }}",
    )
    image = built.output["reference"]
    tested = CheckImageOperator(
        task_id="check_image",
        image=image,
        command=["python", "-m", "airflow_mlops.container.selfcheck", "trainer"],
    )
    bill = WriteImageBillOperator(task_id="write_bill", image=image)
    tried = TrainInDockerOperator(
        task_id="smoke_train_in_image",
        image=image,
        model_name=MODEL_NAME,
        entrypoint=str(HERE / "train.py"),
        datasets={"train": [data["train"]]},
        parameters=SMOKE,
    )
    recorded = record_image(built.output, bill.output, tried.output)
    checked >> wanted >> built >> tested >> [bill, tried] >> recorded


ci_flights()
