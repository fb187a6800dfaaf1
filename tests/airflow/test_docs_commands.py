"""Every command that the documentation shows is read by its own parser; one with its output below is run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.documentation import EXTRAS, ROOT, SHELL, TARGETS, Block, blocks


def _commands(text: str) -> Iterator[list[str]]:
    """Read a script word by word; a command ends where its line does, unless a quote is open or a backslash says so."""
    open_lines = ""
    for line in text.splitlines():
        open_lines += line.removesuffix("\\") if line.endswith("\\") else f"{line}\n"
        try:
            words = shlex.split(open_lines, comments=True)
        except ValueError:  # a quote is open
            continue
        if line.endswith("\\"):
            continue
        open_lines = ""
        while words:
            end = next((number for number, word in enumerate(words) if word in {"|", "&&", ";"}), len(words))
            yield words[:end]
            words = words[end + 1 :]
    assert not open_lines, "a quote, or a line, is open at the end"


def _check_airflow(words: list[str]) -> Any:
    from airflow.cli.cli_parser import get_parser

    try:
        return get_parser().parse_args(words[1:])
    except SystemExit as end:
        if end.code:
            pytest.fail(f"Airflow's command line refuses: {shlex.join(words)}")
        return None  # --help


def _check_exported(words: list[str]) -> None:
    from airflow_mlops.provider_info import get_provider_info

    options = get_provider_info()["config"]["mlops"]["options"]
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name.startswith("AIRFLOW__MLOPS__"):
            assert name.removeprefix("AIRFLOW__MLOPS__").lower() in options
        elif name in {"MLOPS_BACKEND", "MLOPS_DOCKER", "MLOPS_KUBERNETES"}:
            _check_backend(name, value)
        elif name.startswith("AIRFLOW_CONN_"):
            assert json.loads(value)["conn_type"] in {"mlflow", "model_gateway"}
        else:
            assert name == "KUBECONFIG", word


def _check_backend(name: str, value: str) -> None:
    from airflow_mlops.training.backends import Backend, check_settings, read_backend

    if name == "MLOPS_BACKEND":
        read_backend(value, where=name)
    else:
        check_settings(Backend(name.removeprefix("MLOPS_").lower()), json.loads(value), where=name)


def _check_make(words: list[str]) -> None:
    assert {word for word in words[1:] if "=" not in word} <= TARGETS


def _check_python(words: list[str]) -> None:
    if words[1:3] == ["-m", "venv"]:
        return
    assert words[1] == "-m"
    assert words[2].startswith("airflow_mlops.")
    done = subprocess.run([sys.executable, "-m", words[2], "--help"], check=True, capture_output=True, text=True)
    for option in (word for word in words[3:] if word.startswith("--")):
        assert option in done.stdout


def _check_pip(words: list[str]) -> None:
    assert words[1] == "install"
    for word in words[2:]:
        if word.startswith("airflow-mlops["):
            extras = set(word.removeprefix("airflow-mlops[").rstrip("]").split(","))
            assert extras <= EXTRAS
        elif word.endswith(".txt"):
            assert (ROOT / word).exists()
        else:
            assert word in {"airflow-mlops", "--constraint", "--requirement", "--no-deps", "--upgrade"}, word


def _check_paths(words: list[str]) -> None:
    """Files of the repository that another program is given."""
    for word in words[1:]:
        if word.startswith(("helm/", "docker/", "dags/", "docs/")):
            assert (ROOT / word).exists(), word


_PROGRAMS: Mapping[str, Callable[[list[str]], Any]] = {
    "airflow": _check_airflow,
    "export": _check_exported,
    "make": _check_make,
    "python": _check_python,
    "python3": _check_python,
    "pip": _check_pip,
    # Programs of others: only that the files exist.
    "cd": _check_paths,
    "docker": _check_paths,
    "git": _check_paths,
    "helm": _check_paths,
    "kubectl": _check_paths,
    "pre-commit": _check_paths,
}


@pytest.mark.parametrize("block", blocks(*SHELL), ids=str)
def test_commands(block: Block, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    commands = list(_commands(block.text))
    assert commands
    for words in commands:
        program = words[0].rpartition("/")[2]
        assert program in _PROGRAMS, f"{program}: no rule says how to check it"
        asked = _PROGRAMS[program](words)
        if block.output:
            assert program == "airflow", "only Airflow's commands are run"
            monkeypatch.chdir(ROOT)
            asked.func(asked)
    assert block.output in capsys.readouterr().out
