"""What the doctor says of packages, options, the artefact root, evidence and DAGs: real ones, in order and broken."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

import airflow_mlops.operators
from airflow_mlops.cli.doctor.areas import AREAS, chosen_checks
from airflow_mlops.cli.doctor.checks import artifacts, configuration, dags, extras, versions
from airflow_mlops.cli.doctor.examine import examine
from airflow_mlops.cli.doctor.finding import Finding, as_json
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.verdict import CheckResult, Verdict


class Pretended(Site):
    """An installation with other versions; None for a distribution that is not there."""

    def __init__(self, **changes: str | None) -> None:
        super().__init__()
        self._changes = {name.replace("_", "-"): version for name, version in changes.items()}

    def version(self, distribution: str) -> str | None:
        return self._changes[distribution] if distribution in self._changes else super().version(distribution)


class BaseOnly(Site):
    """An installation with nothing but what the base package asks for."""

    def version(self, distribution: str) -> str | None:
        base = ("airflow-mlops", "apache-airflow", "httpx", "jinja2", "pyyaml")
        return super().version(distribution) if distribution in base else None


def levels(found: Iterable[Finding]) -> dict[str, str]:
    return {one.check: one.level for one in found}


def by_check(found: Iterable[Finding], check: str) -> Finding:
    (one,) = [one for one in found if one.check == check]
    return one


def test_this_installation_is_in_order() -> None:
    found = list(versions.libraries(Site()))
    assert set(levels(found)) >= {"airflow-mlops", "apache-airflow", "httpx"}
    assert {one.level for one in found} == {"ok"}


def test_an_old_airflow_and_a_missing_library_fail() -> None:
    found = list(versions.libraries(Pretended(apache_airflow="3.2.1", httpx=None)))
    assert by_check(found, "apache-airflow").message == "3.2.1 is installed; >=3.3 is needed"
    assert "pip install 'apache-airflow>=3.3'" in by_check(found, "apache-airflow").remedy
    assert by_check(found, "httpx").level == "fail"


def test_a_package_that_is_only_on_the_path_fails() -> None:
    (found,) = versions.libraries(Pretended(airflow_mlops=None))
    assert found.level == "fail"
    assert "no such distribution is installed" in found.message


def test_with_the_base_package_alone_every_extra_says_what_it_would_bring() -> None:
    found = list(extras.extras(BaseOnly()))
    assert {one.level for one in found} == {"note"}
    one = by_check(found, "docker")
    assert "lacks apache-airflow-providers-docker" in one.message
    assert "TrainInDockerOperator" in one.message
    assert one.remedy == "pip install 'airflow-mlops[docker]'"


def test_a_provider_that_is_too_old_is_a_warning() -> None:
    found = by_check(extras.extras(Pretended(apache_airflow_providers_cncf_kubernetes="10.0.0")), "kubernetes")
    assert found.level == "warn"
    assert "apache-airflow-providers-cncf-kubernetes 10.0.0 instead of >=10.24" in found.message


def test_all_extras_are_told_and_all_operators_exist() -> None:
    declared = {name for text in Site().requirements() for name in re.findall(r"extra == ['\"](\w+)['\"]", text)}
    assert set(extras.NEEDED_FOR) == declared - {"all"}
    named = set(re.findall(r"\w+Operator\b", " ".join(extras.NEEDED_FOR.values())))
    assert named <= set(airflow_mlops.operators.__all__)


def test_the_model_environment_is_compared(model_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    found = list(versions.model_environment(Site()))
    assert by_check(found, "model_python").level in ("ok", "warn")  # the copy may be older than the checkout
    assert "scikit-learn" in by_check(found, "model libraries").message


def test_another_copy_in_the_model_environment_is_a_warning() -> None:
    here = versions.describe_package()
    there = here | {"digest": "other", "airflow": None}
    found = versions.compare_environments(here, there, "/m/python")
    one = by_check(found, "model_python")
    assert (one.level, "the same number, other files" in one.message) == ("warn", True)


def test_an_empty_environment_for_models_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "empty"], check=True)
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(tmp_path / "empty" / "bin" / "python"))
    found = list(versions.model_environment(Site()))
    assert levels(found) == {"model_python": "fail", "model libraries": "warn"}
    assert "airflow-mlops is not there" in found[0].message


def test_no_model_environment_is_a_note() -> None:
    assert levels(versions.model_environment(Site())) == {"model_python": "note"}


def test_unset_options_are_told() -> None:
    found = list(configuration.options(Site()))
    assert levels(found) == {"artifact_root": "fail", "backend": "note"}
    assert "AIRFLOW__MLOPS__ARTIFACT_ROOT" in by_check(found, "artifact_root").remedy


def test_wrong_options_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tmp_path / "python"
    plain.write_text("")
    plain.chmod(0o644)
    for name, value in {
        "ARTIFACT_ROOT": "/srv/mlops",
        "ARTEFACT_ROOT": "/srv/mlops",
        "LOCAL_HOME": str(tmp_path / "nowhere"),
        "MODEL_PYTHON": str(tmp_path / "no-python"),
        "EVIDENCE_KEY": str(plain),
        "DOCKER": '{"imgae": "trainer:1"}',
        "KUBERNETES": "{",
        "BACKEND": "docker",
    }.items():
        monkeypatch.setenv(f"AIRFLOW__MLOPS__{name}", value)
    found = list(configuration.options(Site()))
    expected = {"artefact_root": "warn", "model_python": "fail", "local_home": "warn", "evidence_key": "fail"}
    assert levels(found) == expected | {"docker": "fail", "kubernetes": "fail", "backend": "ok"}
    assert by_check(found, "artefact_root").remedy.startswith("did you mean artifact_root? ")
    assert "imgae" in by_check(found, "docker").message
    monkeypatch.setenv("AIRFLOW__MLOPS__BACKEND", "kubernets")
    assert "'kubernets' is not accepted" in by_check(configuration.options(Site()), "backend").message


def test_a_root_that_works_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", f"file://{tmp_path}/new/artifacts")
    found = list(artifacts.root(Site()))
    assert levels(found) == {"artifact_root": "ok", "writers take turns": "ok", "speed": "ok"}
    assert not list(tmp_path.iterdir())


def test_a_root_below_a_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", f"file://{tmp_path}/file/artifacts")
    (found,) = artifacts.root(Site())
    assert found.level == "fail"
    assert "NotADirectoryError" in found.message


def test_object_storage_is_asked_for_conditional_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", "nosuch://doctor")
    (unknown,) = artifacts.root(Site())
    assert (unknown.level, "Unsupported filesystem: 'nosuch'" in unknown.message) == ("fail", True)
    attach("memory", fs=MemoryFileSystem())
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", "memory://doctor")
    found = list(artifacts.root(Site()))
    assert levels(found) == {"artifact_root": "ok", "writers take turns": "ok", "speed": "ok"}
    assert "conditional write" in by_check(found, "writers take turns").message


def test_a_folder_that_the_api_server_may_not_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    root = closed / "artifacts"
    root.mkdir(parents=True)
    closed.chmod(0o711)
    root.chmod(0o755)
    nobody, owner = 64999, root.stat().st_uid
    assert artifacts.first_closed(root, owner, frozenset(), below=closed) is None
    assert artifacts.first_closed(root, nobody, frozenset(), below=closed) is None
    root.chmod(0o750)
    assert artifacts.first_closed(root, nobody, frozenset(), below=closed) == root
    assert artifacts.first_closed(root, nobody, frozenset({root.stat().st_gid}), below=closed) is None
    closed.chmod(0o700)
    assert artifacts.first_closed(root, nobody, frozenset(), below=closed) == closed
    closed.chmod(0o755)


def decision(subject: str) -> Evidence:
    return Evidence(
        decision="gate",
        subject=subject,
        verdict=Verdict.PASS,
        checks=(CheckResult(name="auc", verdict=Verdict.PASS, reason="good"),),
        origin=Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        decided_at=time.time(),
    )


def test_every_chain_is_verified(artifact_root: Path) -> None:
    assert levels(artifacts.evidence(Site())) == {"chains": "note"}
    store = ArtifactStore.from_config()
    for subject in ("flights", "wine", "wine"):
        store.write_evidence(decision(subject))
    (found,) = artifacts.evidence(Site())
    assert (found.level, found.message) == ("ok", "3 decisions about 2 subjects verify")
    first = min((artifact_root / "evidence" / "wine").glob("*.json"))
    first.write_text(first.read_text().replace("good", "bad"))
    broken = list(artifacts.evidence(Site()))
    assert levels(broken) == {"wine": "fail", "chains": "warn"}
    assert "the document was changed" in broken[0].message


def test_dags_are_parsed_as_the_processor_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = "from airflow.sdk import DAG\nprint('noise')\nDAG('good', schedule=None)\n"
    (tmp_path / "good.py").write_text(good)
    (tmp_path / "heavy.py").write_text("import numpy\nfrom airflow.sdk import DAG\nDAG('heavy', schedule=None)\n")
    (tmp_path / "broken.py").write_text("from airflow.sdk import DAG\nimport nothing_of_this_name\n")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    found = list(dags.parse_cost(Site()))
    assert by_check(found, "broken.py").message == (
        "does not parse: ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )
    assert by_check(found, "imports").message == "parsing loads numpy"
    assert "good.py" not in levels(found)


def test_the_cost_of_parsing_is_told() -> None:
    found = dags.tell_cost({"files": {"a.py": 0.1, "b.py": 0.3}, "errors": {}, "heavy": []}, "/dags")
    assert [one.message for one in found] == ["2 files in 0.40 s; the slowest, b.py, takes 0.30 s"]
    (slow,) = dags.tell_cost({"files": {"a.py": 2.5}, "errors": {}, "heavy": []}, "/dags")
    assert (slow.level, slow.message) == ("warn", "takes 2.5 s to parse")
    (empty,) = dags.tell_cost({"files": {}, "errors": {}, "heavy": []}, "/dags")
    assert empty.level == "note"


def test_it_works_where_only_the_base_package_is(
    artifact_root: Path, connection: Callable[..., None], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker, kubernetes = "airflow.providers.docker.hooks", "airflow.providers.cncf.kubernetes.hooks"
    libraries = ("mlflow", "docker", "kubernetes", "pandas", "numpy", "scipy", "pyarrow", "great_expectations")
    for name in (*libraries, docker, f"{docker}.docker", kubernetes, f"{kubernetes}.kubernetes"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises ImportError
    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}", password="t0p-s3cret")
    connection("docker_default", conn_type="docker", host="registry", login="me", password="t0p-s3cret")
    gateway: dict[str, Any] = {"kind": "gateway_api", "namespace": "models"}
    connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", port=free_port, extra=gateway)
    site = BaseOnly()
    areas = [area for area in AREAS if area not in ("airflow", "dags")]  # these start or ask Airflow itself
    output = list(examine(chosen_checks(site, areas), site))
    found = {(one.area, one.check): (one.level, one.message) for one in output}
    assert found["connections", "docker_default"] == (
        "fail",
        "training in Docker and building images need the extra: pip install 'airflow-mlops[docker]'",
    )
    assert found["cluster", "rights"] == (
        "fail",
        "training in a cluster needs the extra: pip install 'airflow-mlops[kubernetes]'",
    )
    assert found["connections", "mlflow_default"][0] == "fail"
    assert "does not answer" in found["mlflow", "mlflow_default"][1]
    assert found["artifacts", "artifact_root"][0] == "ok"
    assert "t0p-s3cret" not in as_json(output)
    assert not [one for one, (level, _) in found.items() if level == "error"], found
