"""Exports to ONNX with the real converters, in an environment of their own on top of the model environment's."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from airflow.sdk import DAG

from airflow_mlops.codec import decode, encode
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ExportToOnnxOperator
from airflow_mlops.references import ModelRef

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
REPOSITORY = Path(__file__).parents[3]
NUMBERS, TEXT = ["distance", "sched_hour", "temp", "wind_speed", "visib"], ["carrier", "origin"]


@pytest.fixture(scope="module")
def onnx_python(model_python, tmp_path_factory):
    """Interpreter that has the model environment's packages, this checkout, and the converters: made in seconds."""
    folder = tmp_path_factory.mktemp("onnx")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([model_python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    own = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    (Path(own) / "below.pth").write_text(f"{REPOSITORY}\n{packages}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    wanted = REPOSITORY / "docker" / "trainer" / "onnx-requirements.txt"
    made = subprocess.run([*pip, "--requirement", wanted], capture_output=True, text=True, check=False, timeout=240)
    assert made.returncode == 0, made.stderr
    return python


@pytest.fixture
def saved(made_up_flights, tmp_path):
    """Save a fitted pipeline of these steps; returns the encoded reference."""
    import pandas as pd

    with warnings.catch_warnings():
        # It looks for the home of every ufunc in all modules, and Airflow's deprecated ones complain about being asked.
        warnings.simplefilter("ignore")
        import skops.io

    def save(estimator):
        rows = pd.read_parquet(made_up_flights(3000, "2013-01", 1).uri.removeprefix("file://"))
        features = rows[[*NUMBERS, *TEXT]].astype(dict.fromkeys(NUMBERS, "float64") | dict.fromkeys(TEXT, "object"))
        estimator.fit(features, rows["late"])
        directory = tmp_path / "model"
        directory.mkdir()
        skops.io.dump(estimator, directory / "model.skops")
        columns = [{"name": name, "type": "double" if name in NUMBERS else "string"} for name in features]
        flavor = {"serialization_format": "skops", "pickled_model": "model.skops"}
        metadata = {"flavors": {"sklearn": flavor}, "signature": {"inputs": json.dumps(columns)}}
        (directory / "MLmodel").write_text(yaml.safe_dump(metadata))
        digest = manifest_of(directory).digest
        return {"uri": f"file://{directory}", "digest": digest, "format": "mlflow", "size_bytes": 1}

    return save


def trees(model, numbers="passthrough"):
    """Categories are numbered; what becomes of the numbers is the test's choice."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    numbered = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(ColumnTransformer([("text", numbered, TEXT), ("numbers", numbers, NUMBERS)]), model)


def boosted():
    from sklearn.ensemble import HistGradientBoostingClassifier

    return trees(HistGradientBoostingClassifier(max_iter=20, random_state=0))


def scaled_forest():
    """Scaled numbers lie beside the splits of trees, and on their other side once they are 32 bits wide."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    forest = RandomForestClassifier(10, max_depth=8, random_state=0)
    return trees(forest, make_pipeline(SimpleImputer(), StandardScaler()))


@pytest.fixture
def export(run_dag, artifact_root, made_up_flights, tmp_path, capsys, caplog):
    """Export a model; returns the run, and its log."""

    def run(model, python, **arguments):
        with DAG(f"onnx_{tmp_path.name}", schedule=None) as dag:
            ExportToOnnxOperator(
                task_id="export",
                model=model,
                dataset=encode(made_up_flights(4000, "2013-02", 2)),
                model_name="flights",
                python=str(python),
                **arguments,
            )
        capsys.readouterr()
        found = run_dag(dag)
        return found, caplog.text + capsys.readouterr().out

    return run


def test_an_export_that_answers_as_the_original_is_published_with_the_proof(export, saved, onnx_python):
    model = saved(boosted())
    run, _ = export(model, onnx_python)
    assert run.states == {"export": "success"}
    returned = run.xcom("export")
    exported = decode(ModelRef, returned["model"])
    directory = Path(exported.uri.removeprefix("file://"))
    assert (exported.format, exported.digest) == ("onnx", manifest_of(directory).digest)
    assert (directory / "model.onnx").stat().st_size > 1000
    proof = json.loads((directory / "parity.json").read_text())
    assert proof["source"]["digest"] == model["digest"]
    assert proof["found"] == returned["parity"]
    assert (returned["parity"]["rows"], returned["parity"]["agreement"]) == (4000, 1.0)
    assert returned["parity"]["maximum"] < 1e-5


def test_an_export_without_parity_fails_with_the_numbers(export, saved, onnx_python):
    """Nothing is wrong with the pipeline, or with the converter: 32 bits are not 64."""
    model = saved(scaled_forest())
    run, log = export(model, onnx_python, parity={"maximum": 0.001, "minimum_agreement": 0.9})
    assert run.states == {"export": "failed"}
    assert "the exported model does not answer as the original: largest difference 0." in log
    assert "at most 0.001 accepted" in log
    assert "parity on 4,000 rows: " in log


def test_an_environment_without_the_converters_is_named(export, saved, model_python):
    run, log = export(saved(boosted()), model_python)
    assert run.states == {"export": "failed"}
    assert "skl2onnx, onnx, onnxruntime not installed for " in log
    assert "docker/trainer/onnx-requirements.txt; name its interpreter as python=" in log
