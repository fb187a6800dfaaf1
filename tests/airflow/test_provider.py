"""What Airflow learns about the provider when it starts."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import jsonschema
import pytest
from airflow import plugins_manager
from airflow.configuration import conf
from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger

import airflow_mlops
from airflow_mlops.provider_info import get_provider_info

INFO = get_provider_info()


def _schema(name: str) -> dict:
    import airflow

    return json.loads((Path(airflow.__file__).parent / name).read_text())


def test_the_metadata_fit_airflows_schema():
    jsonschema.Draft7Validator(_schema("provider_info.schema.json")).validate(INFO)


def test_every_section_fits_the_strict_schema():
    schema = _schema("provider.yaml.schema.json")
    for key in ("connection-types", "config", "cli", "extra-links", "operators", "sensors", "hooks", "triggers"):
        part = schema["properties"][key] | {"definitions": schema.get("definitions", {})}
        jsonschema.Draft7Validator(part).validate(INFO[key])


def test_the_version_is_the_packages():
    assert INFO["versions"] == [airflow_mlops.__version__]


def _classes() -> list[str]:
    found = [connection["hook-class-name"] for connection in INFO["connection-types"]]
    found += [*INFO.get("cli", ()), *INFO.get("extra-links", ()), *INFO.get("notifications", ())]
    return found + [decorator["class-name"] for decorator in INFO.get("task-decorators", ())]


@pytest.mark.parametrize("path", _classes())
def test_every_class_path_imports(path):
    module, name = path.rsplit(".", 1)
    assert callable(getattr(importlib.import_module(module), name))


def _modules() -> list[str]:
    groups = ("operators", "sensors", "hooks", "triggers")
    return [module for group in groups for entry in INFO.get(group, ()) for module in entry["python-modules"]]


@pytest.mark.parametrize("module", _modules())
def test_every_listed_module_imports(module):
    importlib.import_module(module)


def _defines(module: str, base: type) -> bool:
    found = vars(importlib.import_module(module)).values()
    return any(isinstance(one, type) and issubclass(one, base) and one.__module__ == module for one in found)


def _listed(group: str) -> set[str]:
    return {module for entry in INFO.get(group, ()) for module in entry["python-modules"]}


@pytest.mark.parametrize(("group", "base"), [("hooks", BaseHook), ("triggers", BaseTrigger)])
def test_every_module_is_listed(group, base):
    folder = Path(airflow_mlops.__file__).parent / group
    modules = {f"airflow_mlops.{group}.{path.stem}" for path in folder.glob("*.py")}
    assert _listed(group) == {module for module in modules if _defines(module, base)}


@pytest.mark.parametrize("group", ["operators", "sensors"])
def test_every_operators_module_is_listed(group):
    exported = importlib.import_module(f"airflow_mlops.{group}")
    assert _listed(group) == {getattr(exported, name).__module__ for name in exported.__all__}


@pytest.mark.parametrize("connection", INFO["connection-types"], ids=lambda one: one["connection-type"])
def test_the_hooks_agree_with_the_metadata(connection):
    module, name = connection["hook-class-name"].rsplit(".", 1)
    hook = getattr(importlib.import_module(module), name)
    assert hook.conn_type == connection["connection-type"]
    assert hook.hook_name == connection["hook-name"]
    assert hook.default_conn_name == f"{hook.conn_type}_default"


_START = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(json.dumps({
    "hooks": {name: hook.hook_name for name, hook in manager.hooks.items() if name in ("mlflow", "model_gateway")},
    "forms": sorted(name for name in manager.connection_form_widgets if "model_gateway" in name),
    "behaviours": sorted(set(manager.field_behaviours) & {"mlflow", "model_gateway"}),
    "cli": [str(one.__module__) for one in manager.cli_command_functions if "mlops" in one.__module__],
    "package": "airflow-mlops" in manager.providers,
}))
"""


def test_airflows_provider_manager_sees_everything():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _START], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["package"]
    assert seen["hooks"] == {"mlflow": "MLflow", "model_gateway": "Model gateway"}
    assert seen["behaviours"] == ["mlflow", "model_gateway"]
    fields = ["admin_url", "directory", "kind", "kubeconfig", "kubernetes_conn_id", "metrics", "namespace", "router"]
    fields += ["serving", "serving_directory"]
    assert seen["forms"] == [f"extra__model_gateway__{one}" for one in fields]
    assert seen["cli"] == ["airflow_mlops.cli.definition"]
    assert "airflow_mlops" not in done.stderr


def test_airflow_loads_the_plugin_through_its_entry_point():
    (entry,) = entry_points(group="airflow.plugins", name="mlops")
    assert entry.load().name == "mlops"
    plugins, errors = plugins_manager._get_plugins()
    assert "mlops" in [plugin.name for plugin in plugins]
    assert errors == {}


def test_the_options_are_known_to_airflow():
    known = conf.configuration_description["mlops"]["options"]
    backends = {"backend", "docker", "kubernetes"}
    assert set(known) == {
        *backends,
        *("artifact_root", "evidence_key", "image_url", "local_home", "model_python", "pod_url"),
    }


def test_a_model_asset_takes_our_scheme():
    from airflow.sdk.definitions.asset import Model

    asset = Model("flights", uri="mlflow://models/flights")
    assert (asset.uri, asset.group) == ("mlflow://models/flights", "model")
