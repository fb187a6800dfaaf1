"""Every code block of the documentation runs or is read by what it is for, and what the pages name exists.

Blocks of the language ``text`` are for people; right behind a program they are what it prints. A block that no rule
here covers fails its test.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import MLOpsError
from tests.documentation import PAGES, README, ROOT, Block, blocks, links, prose

#: Trains a model; `test_readme.py` runs it.
_SCRIPTS = [block for block in blocks("python", pages=(README,)) if "training_job()" in block.text]
_TARGETS = frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_SHELL = ("sh", "bash")
#: Operators of Airflow and of others that pages speak of.
_OTHERS = {
    "BaseOperator",
    "KubernetesPodOperator",
    "GXValidateBatchOperator",
    "GXValidateCheckpointOperator",
    "GXValidateDataFrameOperator",
}


def _id(block: Block) -> str:
    return str(block)


def test_every_block_says_what_it_is():
    known = {"python", "yaml", "json", "ini", *_SHELL, "text"}
    unknown = {str(block): block.language for block in blocks() if not block.language.startswith("{")}
    # The README's picture and the list of commands in CONTRIBUTING are for people.
    allowed = {name for name in unknown if name.startswith(("README.md", "CONTRIBUTING.md")) and not unknown[name]}
    assert {name: language for name, language in unknown.items() if language not in known and name not in allowed} == {}


# ---- Python


@pytest.mark.parametrize("block", [one for one in blocks("python") if one not in _SCRIPTS], ids=_id)
def test_python(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    if re.search(r"^with DAG\(|^@dag", block.text, flags=re.MULTILINE):
        _parse_dag(block, tmp_path)
        return
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(block.text, str(block), "exec"), names)
    for name, test in names.items():
        if name.startswith("test_"):
            test()
    printed = capsys.readouterr().out
    assert block.output in printed
    assert block.output or "print(" not in block.text, "the page does not show what this prints"


def _parse_dag(block: Block, folder: Path) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    (folder / "block.py").write_text(block.text)
    bag = BundleDagBag(dag_folder=str(folder / "block.py"), bundle_path=folder)
    assert bag.import_errors == {}
    assert bag.dags
    assert all(dag.tasks for dag in bag.dags.values())


# ---- YAML and JSON


def _policy(document: Any) -> None:
    import jsonschema

    from airflow_mlops.evaluation.policy import parse_policy
    from airflow_mlops.schemas import load_schema

    jsonschema.validate(document, load_schema("gate-policy-1"))
    parse_policy(document)


def _suite(document: Any) -> None:
    from airflow_mlops.validation.spec import parse_suite

    places = find_spec("great_expectations")
    assert places is not None
    core = Path((places.submodule_search_locations or [])[0]) / "expectations" / "core"
    for rule in parse_suite(document).rules:
        assert (core / f"{rule.type}.py").exists(), rule.type


def _rollout(document: Any) -> None:
    from airflow_mlops.rollout.spec import RolloutSpec

    decode(RolloutSpec, document)


def _shadow(document: Any) -> None:
    from airflow_mlops.rollout.shadow_spec import ShadowSpec

    decode(ShadowSpec, document)


def _monitoring(document: Any) -> None:
    from airflow_mlops.monitoring.spec import parse_policy

    parse_policy(document)


def _loading(document: Any) -> None:
    from airflow_mlops.loading import LoadingPolicy

    decode(LoadingPolicy, document)


def _diagnostics(document: Any) -> None:
    from airflow_mlops.evaluation.diagnostics import Diagnostics

    decode(Diagnostics, document)


def _card(document: Any) -> None:
    from airflow_mlops.governance.card_facts import read_text

    read_text(document)


def _chart(document: Any) -> None:
    import jsonschema

    jsonschema.validate(document, json.loads((ROOT / "helm/airflow-mlops/values.schema.json").read_text()))


def _inference_service(document: Any) -> None:
    from airflow_mlops.adapters.traffic.kserve_standard import ready, weights

    assert sum(weights("flights", document).values()) == 100
    assert len(ready(document)) == 2


def _argo_strategy(document: Any) -> None:
    from airflow_mlops.adapters.traffic.argo_progress import Progress

    assert set(document) == {"strategy"}
    status = {"stableRS": "a", "currentPodHash": "b"}
    Progress("m", {"metadata": {"name": "m", "generation": 1}, "spec": document, "status": status}).check_steps()


def _gateway(document: Any) -> None:
    """An extra of the connection type ``model_gateway``, or a part of one."""
    from airflow.sdk import Connection

    from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
    from airflow_mlops.hooks.gateway_kinds import kind_named
    from airflow_mlops.hooks.metric_sources import open_metrics
    from airflow_mlops.provider_info import get_provider_info

    (form,) = (one for one in get_provider_info()["connection-types"] if one["connection-type"] == "model_gateway")
    assert document
    assert set(document) <= {*form["conn-fields"], "cluster_context", "in_cluster"}
    kind = kind_named(document.get("kind", "envoy"))
    assert set(document.get("router", {})) <= set(kind.options)
    if "serving" in document:
        decode(FleetSettings, {"namespace": document["namespace"], **document["serving"]})
    if "metrics" in document:
        there = Connection(conn_id="prometheus_default", conn_type="http", host="http://127.0.0.1")
        open_metrics(document["metrics"], envoy=lambda: None, read=lambda _: there, where="metrics")  # type: ignore[arg-type, return-value]


def _contract(document: Any) -> None:
    """A document that the package itself writes."""
    import jsonschema

    from airflow_mlops.schemas import load_schema, names

    kinds = [
        one for one in names() if not list(jsonschema.Draft202012Validator(load_schema(one)).iter_errors(document))
    ]
    assert kinds, "no JSON Schema of the package accepts this"


_READERS: Mapping[str, tuple[Callable[[Any], None], ...]] = {
    "yaml": (
        _policy,
        _suite,
        _rollout,
        _shadow,
        _monitoring,
        _loading,
        _diagnostics,
        _card,
        _chart,
        _inference_service,
        _argo_strategy,
    ),
    "json": (_gateway, _contract),
}


def _refusal(read: Callable[[Any], None], document: Any) -> str | None:
    from jsonschema import ValidationError

    try:
        read(document)
    except (MLOpsError, ValidationError, AssertionError, KeyError, TypeError, AttributeError, ValueError) as error:
        return f"{read.__name__}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return None


@pytest.mark.parametrize("block", blocks("yaml", "json"), ids=_id)
def test_document(block: Block):
    document = yaml.safe_load(block.text) if block.language == "yaml" else json.loads(block.text)
    refusals = [_refusal(read, document) for read in _READERS[block.language]]
    assert None in refusals, "\n".join(map(str, refusals))


@pytest.mark.parametrize("block", blocks("ini"), ids=_id)
def test_configuration(block: Block):
    from airflow.configuration import conf

    known = conf.configuration_description
    given = configparser.ConfigParser(interpolation=None)
    given.read_string(block.text)
    assert given.sections()
    for section in given.sections():
        assert {name for name in given[section] if name not in known[section]["options"]} == set()


# ---- commands


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
    assert {word for word in words[1:] if "=" not in word} <= _TARGETS


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
            assert extras <= set(_PROJECT["optional-dependencies"])
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


@pytest.mark.parametrize("block", blocks(*_SHELL), ids=_id)
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


# ---- what the text names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path):
    import airflow_mlops.operators
    from airflow_mlops.cli.definition import get_cli_commands

    text = page.read_text()
    assert set(re.findall(r"\b[A-Z]\w+Operator\b", text)) <= {*airflow_mlops.operators.__all__, *_OTHERS}
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= _TARGETS
    (top,) = get_cli_commands()
    for spelled in re.findall(r"`airflow mlops ([^`]+)`", text):
        _check_inline(top, spelled.split())
    for target in links(page):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def _check_inline(command: Any, words: list[str]) -> None:
    """Follow words as far as there are subcommands: ``local up|down``, ``rollout abort ROUTE``."""
    if not hasattr(command, "subcommands") or not words or words[0] == "…":
        return
    known = {one.name: one for one in command.subcommands}
    for name in words[0].split("|"):
        assert name in known, f"airflow mlops … {name}"
        _check_inline(known[name], words[1:])


def test_tests_that_are_named_exist():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)", prose(page)):
            assert name in names or f"def {name}" in sources, f"{page.name}: {name}"


def test_messages_of_the_table_of_faults_are_ours():
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text[text.index("## Faults and what to do") : text.index("## Backup")]
    source = "\n".join(path.read_text() for path in (ROOT / "airflow_mlops").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    first_cells = "\n".join(re.findall(r"^\| (.+?) \| ", table, flags=re.MULTILINE))
    parts = [part.strip(" :'()") for said in re.findall(r"`([^`]+)`", first_cells) for part in said.split("…")]
    assert len(parts) > 20
    assert [part for part in parts if len(part) > 8 and part not in source] == []


def test_nothing_is_left_out():
    import airflow_mlops.operators
    import airflow_mlops.sensors

    pages = {page: page.read_text() for page in PAGES}
    guides = "\n".join(text for page, text in pages.items() if page.parent == ROOT / "docs")
    classes = {*airflow_mlops.operators.__all__, *airflow_mlops.sensors.__all__}
    assert {name for name in classes if name not in guides} == set()
    table = re.findall(r"^\| `(\w+)` \|", pages[ROOT / "docs" / "installation.md"], flags=re.MULTILINE)
    assert set(_PROJECT["optional-dependencies"]) <= set(table)
