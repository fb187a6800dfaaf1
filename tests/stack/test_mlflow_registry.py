"""The registry adapter against a real MLflow server."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from airflow_mlops.adapters.registry.mlflow import MLflowRegistry
from airflow_mlops.adapters.registry.mlflow_runs import MLflowRuns
from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import (
    ContractError,
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef

pytestmark = pytest.mark.stack


@pytest.fixture
def name() -> str:
    return f"model-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def server(mlflow_server: str) -> MLflowServer:
    return MLflowServer(tracking_uri=mlflow_server)


@pytest.fixture
def registry(server: MLflowServer) -> MLflowRegistry:
    return MLflowRegistry(server)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "code" / "net.py").write_text("x = 1\n")
    return folder


def _ref(files: Path) -> ModelRef:
    manifest = manifest_of(files)
    return ModelRef(uri=f"file://{files}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)


def _register(registry: MLflowRegistry, name: str, files: Path, key: str = "a" * 64, **changes):
    values = {"idempotency_key": key, "lineage": {"mlops.dag_id": "ct"}, "metrics": {"roc_auc": 0.71}}
    return registry.register(name, _ref(files), files, **(values | changes))


def test_a_version_comes_back_with_its_model_and_origin(registry, name, files):
    made = _register(registry, name, files)
    assert made.version == "1"
    assert made.model == _ref(files)
    assert made.tags["mlops.dag_id"] == "ct"
    assert registry.version(name, "1") == made


def test_registering_again_returns_the_first_version(registry, name, files):
    first = _register(registry, name, files)
    assert _register(registry, name, files) == first
    assert _register(registry, name, files, key="b" * 64).version == "2"


def test_a_long_tag_comes_back_whole(registry, name, files):
    lineage = {"mlops.signature": "x" * 50_000}
    assert _register(registry, name, files, lineage=lineage).tags["mlops.signature"] == "x" * 50_000


def test_the_files_and_metrics_lie_in_the_run(registry, server, name, files):
    made = _register(registry, name, files)
    with server.session("looking") as client:
        run = client.get_run(made.run_id)
        paths = [entry.path for entry in client.list_artifacts(made.run_id, "model/code")]
    assert run.data.metrics == {"roc_auc": 0.71}
    assert run.info.status == "FINISHED"
    assert paths == ["model/code/net.py"]


def test_a_training_run_takes_the_files(registry, server, name, files):
    run_id = MLflowRuns(server).start(name, "key", name="train", tags={})
    assert _register(registry, name, files, run_id=run_id).run_id == run_id


def test_a_run_is_found_again_by_its_key(server, name):
    runs = MLflowRuns(server)
    first = runs.start(name, "d/r/t/-1", name="train", tags={"a": "b"})
    runs.finish(first, "FAILED")
    assert runs.start(name, "d/r/t/-1", name="train", tags={}) == first
    with server.session("looking") as client:
        assert client.get_run(first).info.status == "RUNNING"
        assert client.get_run(first).data.tags["a"] == "b"
    assert runs.start(name, "d/r/t/0", name="train", tags={}) != first
    assert runs.url(first).endswith(f"/runs/{first}")


def test_a_run_is_closed_with_a_known_status(server):
    with pytest.raises(SpecificationError, match="one of FINISHED, FAILED, KILLED"):
        MLflowRuns(server).finish("run", "DONE")  # type: ignore[arg-type]


def test_an_unknown_run_is_permanent(server):
    with pytest.raises(PermanentAdapterError, match=r"looking up run nope: MLflow at .* says RESOURCE_DOES_NOT_EXIST"):
        MLflowRuns(server).url("nope")


def test_a_deleted_experiment_is_permanent(server, name):
    runs = MLflowRuns(server)
    runs.start(name, "key", name="train", tags={})
    with server.session("deleting") as client:
        client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    with pytest.raises(PermanentAdapterError, match="is deleted in MLflow; restore it"):
        runs.start(name, "other", name="train", tags={})


def test_an_unknown_version_names_those_that_exist(registry, name, files):
    with pytest.raises(PermanentAdapterError, match=f"model '{name}' has no version '1'; registered: none"):
        registry.version(name, "1")
    _register(registry, name, files)
    with pytest.raises(PermanentAdapterError, match=r"has no version '7'; registered: 1$"):
        registry.version(name, "7")


def test_no_model_and_no_alias_are_nobody(registry, name, files):
    assert registry.by_alias(name, "champion") is None
    _register(registry, name, files)
    assert registry.by_alias(name, "champion") is None


def test_an_alias_moves_only_from_where_it_was_expected(registry, name, files):
    _register(registry, name, files)
    _register(registry, name, files, key="b" * 64)
    registry.set_alias(name, "champion", "1", expected=None)
    registry.set_alias(name, "champion", "1", expected=None)
    with pytest.raises(StaleWriteError, match=r"champion of .* is version 1, but no version was expected"):
        registry.set_alias(name, "champion", "2", expected=None)
    registry.set_alias(name, "champion", "2", expected="1")
    assert registry.by_alias(name, "champion").version == "2"
    with pytest.raises(StaleWriteError, match="is version 2, but version 1 was expected"):
        registry.remove_alias(name, "champion", expected="1")
    registry.remove_alias(name, "champion", expected="2")
    registry.remove_alias(name, "champion", expected="2")
    assert registry.by_alias(name, "champion") is None


def test_an_alias_needs_an_existing_version(registry, name, files):
    _register(registry, name, files)
    with pytest.raises(PermanentAdapterError, match="has no version '9'"):
        registry.set_alias(name, "champion", "9", expected=None)


def test_other_aliases_are_refused(registry, name):
    with pytest.raises(SpecificationError, match="'production' is not accepted; expected one of 'champion', 'chall"):
        registry.by_alias(name, "production")


def test_names_that_would_break_a_search_are_refused(registry, files):
    with pytest.raises(SpecificationError, match="without quotes, slashes and colons"):
        _register(registry, "it's", files)


def test_tags_can_be_added(registry, name, files):
    _register(registry, name, files)
    registry.set_tags(name, "1", {"mlops.rejected": "too slow"})
    assert registry.version(name, "1").tags["mlops.rejected"] == "too slow"


def test_a_version_made_by_others_is_named(registry, server, name):
    with server.session("registering by hand") as client:
        client.create_registered_model(name)
        client.create_model_version(name, source="s3://bucket/model")
    with pytest.raises(ContractError, match=r"version 1 of .* was not registered by RegisterModelOperator"):
        registry.version(name, "1")


def test_an_unreachable_server_is_transient_and_quick(free_port):
    registry = MLflowRegistry(MLflowServer(tracking_uri=f"http://127.0.0.1:{free_port}"))
    start = time.monotonic()
    with pytest.raises(TransientAdapterError, match=f"MLflow at http://127.0.0.1:{free_port} does not answer"):
        registry.by_alias("flights", "champion")
    assert time.monotonic() - start < 10


def test_an_address_without_scheme_is_refused():
    with pytest.raises(SpecificationError, match=r"expected an address such as http://127\.0\.0\.1:5000"):
        MLflowServer(tracking_uri="sqlite:///mlflow.db")


def test_secrets_do_not_show():
    server = MLflowServer(tracking_uri="http://x", username="u", password="hunter2", token="hunter2")
    assert "hunter2" not in repr(server)


_MAKE = """
import sys
import mlflow.sklearn
from sklearn.linear_model import LogisticRegression
model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
mlflow.sklearn.save_model(model, sys.argv[1], serialization_format="skops", pip_requirements=["scikit-learn"])
"""
_LOAD = """
import sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(f"models:/{sys.argv[2]}@champion")
print(model.predict([[0.0], [1.0]]).tolist())
"""


def test_users_load_the_champion_by_its_alias(registry, server, name, tmp_path, model_python):
    folder = tmp_path / "model"
    subprocess.run([model_python, "-c", _MAKE, folder], check=True, capture_output=True, timeout=100)
    made = _register(registry, name, folder)
    registry.set_alias(name, "champion", made.version, expected=None)
    done = subprocess.run(
        [model_python, "-c", _LOAD, server.tracking_uri, name], check=True, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip() == "[0, 1]"
