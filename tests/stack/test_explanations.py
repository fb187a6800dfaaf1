"""Explanations by the real packages: in an environment that has them, and what is said in one that has not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found() -> Any:
    """What the models' explanations are."""
    python = os.environ.get("MLOPS_EXPLAIN_PYTHON")
    if not python:
        pytest.skip(
            "MLOPS_EXPLAIN_PYTHON names no interpreter: it wants docker/trainer/requirements.txt and "
            "docker/trainer/explanations-requirements.txt, which take a minute to install"
        )
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


@pytest.mark.stack
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


@pytest.mark.stack
@pytest.mark.parametrize("name", ["boosted", "forest", "linear", "neighbours"])
def test_the_column_that_the_labels_follow_is_found(found: Any, name: str) -> None:
    by_name = importance(found[name]["report"])
    assert set(by_name) == {"strong", "weak", "unused", "place"}
    assert max(by_name, key=lambda column: by_name[column]) == "strong"
    assert by_name["place"] > by_name["unused"]
    assert found[name]["report"]["agreement"]["rank_correlation"]["value"] > 0.5


@pytest.mark.stack
def test_lime_finds_it_too_and_says_how_it_treats_missing_numbers(found: Any) -> None:
    by_name = importance(found["lime"])
    assert max(by_name, key=lambda column: by_name[column]) == "strong"
    assert found["lime"]["method"].startswith("LIME")
    assert "missing numbers taken as the column's median" in found["lime"]["method"]
    assert found["lime"]["rows"] == 10


@pytest.mark.stack
def test_the_checks_of_skore_run_and_say_what_did_not(found: Any) -> None:
    report = found["methodology"]
    told = [one["code"] for one in report["findings"]] + list(report["passed"]) + list(report["unchecked"])
    assert len(told) == len(set(told)) >= 16
    assert report["passed"] or report["findings"]
    assert any("slow" in reason for reason in report["unchecked"].values())
