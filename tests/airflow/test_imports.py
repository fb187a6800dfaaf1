"""Parsing a DAG costs nothing: what importing our modules loads, and how long it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import airflow_mlops
from airflow_mlops import operators

HEAVY = (
    "numpy",
    "pandas",
    "pandera",
    "scipy",
    "sklearn",
    "great_expectations",
    "mlflow",
    "kubernetes",
    "docker",
    "shap",
    "pyarrow",
    "httpx",
    "fastapi",
)
PACKAGES = ("operators", "sensors", "triggers", "hooks", "links")
#: What any Airflow provider loads.
BARE = """
from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import BaseTrigger
"""
#: A subclass of another provider's operator cannot cost less than that; what it adds is counted.
KUBERNETES = """
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.providers.cncf.kubernetes.utils.pod_manager import OnFinishAction
"""
ON_KUBERNETES = ("airflow_mlops.operators.kubernetes", "airflow_mlops.operators.pod_")
#: Modules that operators share, as far as they are needed to declare one.
BASES = {"base", "custom_training", "image_command", "local_job", "outcome"}
BESIDE_OPERATORS = {
    "codec",
    "exceptions",
    "hooks",
    *("hooks.artifacts", "hooks.defaults", "hooks.documents", "hooks.names", "hooks.settings", "hooks.transfer"),
    "links",
    *("links.base", "links.endpoint", "links.mlflow", "links.pages", "links.report"),
}
SCRIPT = """
import json, sys, time
{bare}
before = set(sys.modules)
start = time.process_time()
{ours}
seconds = time.process_time() - start
print(json.dumps({{"seconds": seconds, "added": sorted(set(sys.modules) - before)}}))
"""


def _modules() -> list[str]:
    root = Path(airflow_mlops.__file__).parent
    return sorted(
        f"airflow_mlops.{package}.{path.stem}"
        for package in PACKAGES
        for path in (root / package).glob("*.py")
        if path.stem != "__init__"
    )


def _import(bare: str, modules: list[str], compiled: Path | None = None) -> tuple[float, set[str]]:
    """Import modules in a new process; return the seconds that it took and what was loaded.

    :param compiled: folder for bytecode; None leaves that to the environment
    """
    script = SCRIPT.format(bare=bare, ours="\n".join(f"import {module}" for module in modules))
    variables = dict(os.environ)
    if compiled is not None:
        variables |= {"PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    seen = json.loads(done.stdout.splitlines()[-1])
    return seen["seconds"], set(seen["added"])


def test_importing_everything_stays_cheap_and_loads_nothing_heavy(tmp_path):
    """The design's bound is 50 ms; a busy machine gets more before this test speaks, `make bench` measures."""
    modules = [module for module in _modules() if not module.startswith(ON_KUBERNETES)]
    _, added = _import(BARE, modules, tmp_path)
    tops = {name.split(".")[0] for name in added}
    assert tops.isdisjoint(HEAVY), tops & set(HEAVY)
    # Now that it is compiled, as it is where it was installed.
    assert min(_import(BARE, modules, tmp_path)[0] for _ in range(2)) <= 0.25


def test_an_operator_loads_what_declares_it_and_nothing_that_it_works_with():
    """Each module that comes along costs every parse of every DAG file; time is measured by ``make bench``."""
    declared = {name for name in operators._MODULES.values() if not name.startswith(("kubernetes", "pod_"))}
    _, added = _import(BARE, [f"airflow_mlops.operators.{name}" for name in sorted(declared)])
    ours = {name.removeprefix("airflow_mlops.") for name in added if name.startswith("airflow_mlops.")}
    assert {name for name in ours if not name.startswith("operators")} == BESIDE_OPERATORS
    assert {name.removeprefix("operators.") for name in ours if name.startswith("operators.")} == declared | BASES


def test_pods_cost_what_airflows_own_pods_cost():
    _, added = _import(BARE + KUBERNETES, [module for module in _modules() if module.startswith(ON_KUBERNETES)])
    tops = {name.split(".")[0] for name in added}
    assert tops.isdisjoint(HEAVY), tops & set(HEAVY)


def test_the_package_itself_loads_nothing_of_ours():
    modules = ["airflow_mlops", "airflow_mlops.provider_info", "airflow_mlops.operators"]
    _, ours = _import("", modules)
    assert {name for name in ours if name.startswith("airflow_mlops")} == {
        "airflow_mlops",
        "airflow_mlops.operators",
        "airflow_mlops.provider_info",
    }
    assert not {name for name in ours if name == "airflow" or name.startswith("airflow.")}
