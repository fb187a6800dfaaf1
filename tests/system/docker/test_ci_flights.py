"""``ci_flights`` with images: what a commit must pass where there is a Docker engine."""

from __future__ import annotations

import gc
import shutil
import uuid
from pathlib import Path

import pytest

from airflow_mlops.codec import decode
from airflow_mlops.manifest import verify
from airflow_mlops.references import ImageRef, ModelRef
from tests.airflow.conftest import Run

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

DAGS = Path(__file__).parents[3] / "dags"


@pytest.fixture
def home(tmp_path, made_up_flights, model_python, artifact_root, monkeypatch):
    """A month of flights where the pipeline looks for it."""
    month = tmp_path / "data" / "flights" / "month=2013-01" / "flights.parquet"
    month.parent.mkdir(parents=True)
    shutil.copyfile(made_up_flights(2000, "2013-01", 1).uri.removeprefix("file://"), month)
    monkeypatch.setenv("AIRFLOW__MLOPS__LOCAL_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    tmp_path.chmod(0o755)  # a container of a root worker is not root
    return tmp_path


@pytest.fixture
def ci_flights(airflow_db, home):
    """Run the pipeline: ``ci_flights(images=True)``; or only a task and what comes before it."""
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    def run(up_to=None, **params):
        bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS)
        assert not bag.import_errors
        sync_bag_to_db(bag, "tests", None)
        dag = bag.dags["ci_flights"]
        part = dag if up_to is None else dag.partial_subset(up_to, include_upstream=True)
        return Run(part.test(run_conf={"rows": 500, **params}))

    return run


@pytest.fixture
def tag(engine):
    name = f"mlops-trainer:ci-{uuid.uuid4().hex[:8]}"
    yield name
    if engine.images(name, quiet=True):
        engine.remove_image(name, force=True)


def test_a_commit_builds_checks_and_tries_the_image(ci_flights, engine, base_image, trainer_image, tag, home):
    # The fixture's image has the same layers, so that this build takes seconds.
    run = ci_flights(images=True, tag=tag, base_image=base_image, network="host", revision="abc123")
    assert run.state == "success", run.states
    recorded = run.xcom("record_image")
    found = engine.inspect_image(tag)
    image = decode(ImageRef, recorded["image"])
    assert (image.digest, recorded["reference"], recorded["revision"]) == (found["Id"], found["Id"], "abc123")
    assert found["Config"]["Labels"]["org.opencontainers.image.revision"] == "abc123"
    assert run.xcom("check_image")["summary"] == "6 checks, 0 failed"
    assert Path(recorded["bill"]["uri"].removeprefix("file://")).is_file()
    assert recorded["bill"] == run.xcom("write_bill")["bill"]
    model = decode(ModelRef, recorded["model"])
    verify(Path(model.uri.removeprefix("file://")), model.digest)
    assert recorded["metrics"] == pytest.approx(run.xcom("smoke_train")["metrics"]), "the same pins, the same model"
    assert _events("flights-trainer-image")[-1] == recorded


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_away_is_no_passed_check(ci_flights, monkeypatch, capsys, caplog):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    run = ci_flights(up_to="build_image", images=True)
    assert run.states == {"check_dags": "success", "images_wanted": "success", "build_image": "failed"}
    assert "no Docker engine answers at unix:///nowhere.sock" in caplog.text + capsys.readouterr().out
    gc.collect()  # the client leaves a socket open; the warning belongs here


def _events(name):
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.settings import Session
    from sqlalchemy import select

    query = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id).where(AssetModel.name == name)
    return [event.extra for event in Session().scalars(query.order_by(AssetEvent.id))]
