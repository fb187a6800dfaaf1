from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_mlops import __version__
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.local.environments import (
    PYTHON_VARIABLE,
    REQUIREMENTS_VARIABLE,
    find_requirements,
    model_environment,
)


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    monkeypatch.delenv(REQUIREMENTS_VARIABLE, raising=False)


@pytest.fixture
def nothing(tmp_path: Path) -> Path:
    path = tmp_path / "nothing.txt"
    path.write_text("# an environment without packages\n")
    return path


def test_the_given_interpreter_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    assert model_environment(tmp_path / "envs", progress=print) == Path(sys.executable)
    assert not (tmp_path / "envs").exists()


def test_a_given_interpreter_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, "/no/such/python")
    with pytest.raises(SpecificationError, match=r"MLOPS_MODEL_PYTHON: '/no/such/python'"):
        model_environment(tmp_path, progress=print)


def test_the_packages_own_requirements_are_found() -> None:
    assert len(find_requirements()) == 2


def test_named_requirements_come_first(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIREMENTS_VARIABLE, os.pathsep.join([str(nothing), str(nothing)]))
    assert find_requirements() == [nothing, nothing]
    assert find_requirements([nothing]) == [nothing]


def test_missing_requirements_are_named() -> None:
    with pytest.raises(SpecificationError, match=r"requirements: '/no/such\.txt'"):
        find_requirements([Path("/no/such.txt")])


def test_an_environment_is_made_once_and_holds_this_package_without_airflow(tmp_path: Path, nothing: Path) -> None:
    said: list[str] = []
    python = model_environment(tmp_path / "envs", requirements=[nothing], progress=said.append)
    assert len(said) == 1
    assert "pip's output is in" in said[0]
    code = "import airflow_mlops, sys; print(airflow_mlops.__version__, airflow_mlops.__file__, sys.prefix)"
    seen = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout.split()
    assert seen[0] == __version__
    assert Path(seen[1]).is_relative_to(python.parent.parent)
    assert Path(seen[2]) == python.parent.parent
    assert subprocess.run([python, "-c", "import airflow"], capture_output=True, check=False, cwd="/").returncode != 0
    assert model_environment(tmp_path / "envs", requirements=[nothing], progress=said.append) == python
    assert len(said) == 1


def test_other_requirements_make_another_environment(tmp_path: Path, nothing: Path) -> None:
    first = model_environment(tmp_path / "envs", requirements=[nothing], progress=lambda _: None)
    nothing.write_text("# changed\n")
    second = model_environment(tmp_path / "envs", requirements=[nothing], progress=lambda _: None)
    assert first != second
    assert first.exists()


def test_a_killed_installation_is_not_taken_for_complete(tmp_path: Path, nothing: Path) -> None:
    python = model_environment(tmp_path / "envs", requirements=[nothing], progress=lambda _: None)
    (python.parent.parent / "complete.json").unlink()
    (python.parent.parent / "half").write_text("")
    said: list[str] = []
    assert model_environment(tmp_path / "envs", requirements=[nothing], progress=said.append) == python
    assert len(said) == 1
    assert not (python.parent.parent / "half").exists()


def test_a_changed_package_is_copied_anew(tmp_path: Path, nothing: Path) -> None:
    python = model_environment(tmp_path / "envs", requirements=[nothing], progress=lambda _: None)
    (copy,) = (python.parent.parent / "lib").glob("python*/site-packages/airflow_mlops")
    (copy / "verdict.py").write_text("stale")
    (python.parent.parent / "airflow_mlops.json").unlink()
    model_environment(tmp_path / "envs", requirements=[nothing], progress=lambda _: None)
    assert "class Verdict" in (copy / "verdict.py").read_text()


def test_a_failed_installation_names_its_log(tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_text("--no-such-option\n")
    with pytest.raises(
        PermanentAdapterError, match=r"ended with status \d+; last lines of .*model-.*\.log:\n(.|\n)*no-such-option"
    ):
        model_environment(tmp_path / "envs", requirements=[broken], progress=lambda _: None)
