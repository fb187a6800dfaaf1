"""What the README shows runs, and what it names is complete; the rest of its blocks are tested in `test_docs.py`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import airflow_mlops.operators
from tests.documentation import README, ROOT, blocks

SNIPPETS = blocks("python", pages=(README,))


def test_a_dag_of_your_own_trains_a_model(
    run_dag: Callable[..., Any],
    artifact_root: Path,
    model_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dag_code, script = (block.text for block in SNIPPETS)
    assert len(dag_code.splitlines()) < 30
    make_data = (
        "import sys; from sklearn.datasets import load_wine; wine = load_wine(as_frame=True).frame; "
        "wine.rename(columns={'target': 'kind'}).to_parquet(sys.argv[1])"
    )
    subprocess.run([model_python, "-c", make_data, tmp_path / "wine.parquet"], check=True, timeout=120)
    (tmp_path / "train.py").write_text(script)
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    (tmp_path / "wine_dag.py").write_text(dag_code.replace("/data/", f"{tmp_path}/"))

    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dag_folder=str(tmp_path / "wine_dag.py"), bundle_path=tmp_path)
    assert not bag.import_errors
    run = run_dag(bag.dags["wine"])
    assert run.state == "success", run.states
    trained = run.xcom("train")
    assert trained["metrics"]["rows"] == 178
    assert (Path(trained["model"]["uri"].removeprefix("file://")) / "MLmodel").exists()


def test_every_command_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README.read_text() + (ROOT / "CONTRIBUTING.md").read_text()))
    assert named
    assert named <= targets


def test_the_operator_table_is_complete() -> None:
    named = set(re.findall(r"`(\w+Operator)`", README.read_text())) - {"BaseOperator", "KubernetesPodOperator"}
    assert named == set(airflow_mlops.operators.__all__)
