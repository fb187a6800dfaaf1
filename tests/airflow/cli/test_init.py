"""`airflow mlops init`: the project that it writes is in order and runs as it is."""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.cli.init import init, write_project
from airflow_mlops.exceptions import ConflictError, SpecificationError

ROOT = Path(__file__).parents[3]
NAMES = ("churn", "a", "one_name_of_forty_characters_is_the_last")


def test_everything_that_was_written_is_said_with_the_next_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(argparse.Namespace(name="churn", folder=str(tmp_path)))
    said = capsys.readouterr().out
    files = {path for path in (tmp_path / "churn").rglob("*") if path.is_file()}
    assert {Path(line.removeprefix("wrote ")) for line in said.splitlines() if line.startswith("wrote ")} == files
    wanted = {"README.md", "Dockerfile", "requirements.txt", "pipeline.py", "train.py", "policy.yaml", "suite.yaml"}
    assert wanted < {path.name for path in files}
    assert f"airflow mlops local up --home {tmp_path}/churn/.stack --dags-folder {tmp_path}/churn/dags" in said
    for path in files:
        assert "PROJECT" not in path.read_text() + path.name


@pytest.mark.parametrize("name", ["", "Churn", "1st", "with-hyphen", "../up", "class", "airflow", "pandas", "a" * 41])
def test_a_name_that_cannot_be_is_refused_with_what_can(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecificationError, match=r"NAME: .* is not accepted; expected a small letter, then up to 39"):
        write_project(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    mine = tmp_path / "churn" / "dags" / "churn" / "train.py"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConflictError, match=re.escape(f"{mine} is there already; nothing was written")):
        write_project("churn", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_file_in_the_place_of_a_folder_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "churn").write_text("a file")
    with pytest.raises(ConflictError, match="churn is there already and is no folder"):
        write_project("churn", tmp_path)
    with pytest.raises(SpecificationError, match=r"--folder: .*nowhere.* expected a folder that exists"):
        write_project("churn", tmp_path / "nowhere")


@pytest.mark.parametrize("name", NAMES)
def test_its_style_is_in_order(tmp_path: Path, name: str) -> None:
    write_project(name, tmp_path)
    for words in (("check",), ("format", "--check")):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", str(tmp_path)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_image_is_made_like_the_trainers(tmp_path: Path) -> None:
    write_project("churn", tmp_path)
    ours, theirs = ((path / "Dockerfile").read_text() for path in (tmp_path / "churn", ROOT / "docker" / "trainer"))
    same = re.compile(r"^(?:ARG BASE_IMAGE|USER|ENTRYPOINT|CMD|WORKDIR /tmp|ENV PATH).*$", flags=re.MULTILINE)
    assert same.findall(ours) == same.findall(theirs)
    pins = (tmp_path / "churn" / "requirements.txt").read_text()
    assert pins == (ROOT / "docker" / "trainer" / "requirements.txt").read_text()


@pytest.mark.timeout(300)
def test_it_runs_to_a_registered_candidate(
    run_dag: Callable[..., Any],
    artifact_root: Path,
    connection: Callable[..., None],
    mlflow_server: str,
    model_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.hooks.mlflow import MLflowHook

    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    write_project("first_try", tmp_path)
    bag = BundleDagBag(dag_folder=str(tmp_path / "first_try" / "dags"), bundle_path=tmp_path)
    assert not bag.import_errors
    assert set(bag.dags) == {"first_try"}
    run = run_dag(bag.dags["first_try"])

    assert run.state == "success", run.states
    version = MLflowHook().registry().by_alias("first_try", "challenger")
    assert version is not None
    assert version.model.digest == run.xcom("train")["model"]["digest"]
    decisions = [one.decision for one in ArtifactStore.from_config().read_evidence("first_try")]
    assert decisions == ["gate", "registration"]
    assert artifact_root.joinpath("data", "first_try", "train.parquet").exists()


def test_its_own_tests_pass(tmp_path: Path) -> None:
    write_project("churn", tmp_path)
    own = runpy.run_path(str(tmp_path / "churn" / "tests" / "test_churn.py"))
    tests = [one for name, one in own.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()
