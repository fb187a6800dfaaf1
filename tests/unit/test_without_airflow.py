"""Training images install this package without Airflow: what they import must not want it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import airflow_mlops

ROOT = Path(airflow_mlops.__file__).parent
PACKAGES = ("evaluation", "governance", "monitoring", "plots", "rollout", "stats", "training", "validation", "schemas")
SCRIPT = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed here")
        return None

sys.meta_path.insert(0, Blocked())
for name in {modules!r}:
    importlib.import_module(name)
"""
CLIENTS = ("airflow", "mlflow", "kubernetes", "docker", "great_expectations", "httpx", "requests", "kserve")


def _modules(*packages: str) -> list[str]:
    kernel = [path for path in ROOT.glob("*.py") if path.stem != "__init__"]
    below = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    dotted = [".".join(("airflow_mlops", *path.relative_to(ROOT).with_suffix("").parts)) for path in kernel + below]
    return sorted(name.removesuffix(".__init__") for name in dotted)


def _import_all(modules: list[str], blocked: tuple[str, ...]) -> None:
    script = SCRIPT.format(blocked=blocked, modules=modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_kernel_and_domains_import_with_no_client_installed():
    modules = _modules(*PACKAGES)
    assert "airflow_mlops.evidence" in modules
    assert "airflow_mlops.governance.release" in modules
    _import_all(modules, (*CLIENTS, "numpy", "pandas", "scipy", "sklearn", "pyarrow"))


def test_adapters_and_the_local_stack_import_with_no_airflow_installed():
    modules = _modules("adapters", "local")
    if importlib.util.find_spec("openlineage") is None:
        modules.remove("airflow_mlops.adapters.lineage.openlineage")  # its facets are classes of the client's
    _import_all(modules, ("airflow",))


def test_the_training_contract_needs_the_standard_library_only():
    everything = tuple(sorted({*CLIENTS, "numpy", "pandas", "scipy", "sklearn", "pyarrow", "yaml", "psutil"}))
    _import_all(["airflow_mlops", "airflow_mlops.container", "airflow_mlops.training.contract"], everything)
