"""Parsing a DAG costs nothing: what importing our modules loads, and how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import airflow_mlops

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


def _import(bare: str, modules: list[str]) -> tuple[float, set[str]]:
    script = SCRIPT.format(bare=bare, ours="\n".join(f"import {module}" for module in modules))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    return seen["seconds"], set(seen["added"])


def test_importing_everything_stays_cheap_and_loads_nothing_heavy():
    """The design's bound is 50 ms; a busy machine gets more before this test speaks, `make bench` measures."""
    modules = [module for module in _modules() if not module.startswith(ON_KUBERNETES)]
    seconds, added = _import(BARE, modules)
    tops = {name.split(".")[0] for name in added}
    assert tops.isdisjoint(HEAVY), tops & set(HEAVY)
    if seconds > 0.25:
        seconds, _ = _import(BARE, modules)
    assert seconds <= 0.25


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
