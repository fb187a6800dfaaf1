"""Explanations by the real packages: in an environment that has them, and what is said in one that has not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import encode
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ExplainModelOperator
from airflow_mlops.references import ModelRef
from tests.airflow.conftest import airflow_db, artifact_root, run_dag  # noqa: F401 - fixtures

pytestmark = pytest.mark.system
REPOSITORY = Path(__file__).parents[2]
MISSING = (
    "MLOPS_EXPLAIN_PYTHON names no interpreter: it wants docker/trainer/requirements.txt and "
    "docker/trainer/explanations-requirements.txt, which take a minute to install"
)


@pytest.fixture(scope="module")
def found() -> Any:
    """What the models' explanations are."""
    python = os.environ.get("MLOPS_EXPLAIN_PYTHON")
    if not python:
        pytest.skip(MISSING)
    done = subprocess.run(
        [python, str(Path(__file__).with_name("explain_models.py"))],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def importance(report: Any) -> dict[str, float]:
    return {one["column"]: one["candidate"]["value"] for one in report["importances"]}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "method", "unit"),
    [
        ("boosted", "SHAP, TreeExplainer", "log-odds"),
        ("forest", "SHAP, TreeExplainer", "answer"),
        ("linear", "SHAP, LinearExplainer", "log-odds"),
        ("neighbours", "SHAP, PermutationExplainer", "answer"),
    ],
)
def test_effects_of_the_original_columns_add_up_to_the_answer(found: Any, name: str, method: str, unit: str) -> None:
    """Through encoders that make one column of a column, and several: what is left over is the same in every row."""
    report = found[name]["report"]
    assert report["method"] == method
    assert unit in report["unit"]
    assert report["local_unit"] == f"effect on the {unit}"
    assert found[name]["remainder"] < 1e-5


@pytest.mark.parametrize("name", ["boosted", "forest", "linear", "neighbours"])
def test_the_column_that_the_labels_follow_is_found(found: Any, name: str) -> None:
    by_name = importance(found[name]["report"])
    assert set(by_name) == {"strong", "weak", "unused", "place"}
    assert max(by_name, key=lambda column: by_name[column]) == "strong"
    assert by_name["place"] > by_name["unused"]
    assert found[name]["report"]["agreement"]["rank_correlation"]["value"] > 0.5


def test_lime_finds_it_too_and_says_how_it_treats_missing_numbers(found: Any) -> None:
    by_name = importance(found["lime"])
    assert max(by_name, key=lambda column: by_name[column]) == "strong"
    assert found["lime"]["method"].startswith("LIME")
    assert "missing numbers taken as the column's median" in found["lime"]["method"]
    assert found["lime"]["rows"] == 10


def test_the_checks_of_skore_run_and_say_what_did_not(found: Any) -> None:
    report = found["methodology"]
    told = [one["code"] for one in report["findings"]] + list(report["passed"]) + list(report["unchecked"])
    assert len(told) == len(set(told)) >= 16
    assert report["passed"] or report["findings"]
    assert any("slow" in reason for reason in report["unchecked"].values())


@pytest.mark.timeout(300)
def test_an_operator_explains_in_an_environment_of_its_own(
    run_dag: Callable[..., Any],  # noqa: F811
    artifact_root: Path,  # noqa: F811
    small_model: tuple[Path, str],
    made_up_flights: Callable[..., Any],
) -> None:
    python = os.environ.get("MLOPS_EXPLAIN_PYTHON")
    if not python:
        pytest.skip(MISSING)
    directory, digest = small_model
    size = manifest_of(directory).size_bytes
    model = encode(ModelRef(uri=f"file://{directory}", digest=digest, format="mlflow", size_bytes=size))
    with DAG("shap", schedule=None) as dag:
        ExplainModelOperator(
            task_id="explain",
            candidate=model,
            champion=model,
            dataset=encode(made_up_flights(2000, "2013-02", 2)),
            target="late",
            model_name="flights",
            explanations={"method": "shap", "rows": 300},
            python=python,
            environment={"PYTHONPATH": str(REPOSITORY)},
        )
    run = run_dag(dag)
    assert run.states == {"explain": "success"}
    page = Path(run.xcom("explain")["report_uri"].removeprefix("file://")).read_text()
    assert "SHAP, TreeExplainer; 300 rows" in page
