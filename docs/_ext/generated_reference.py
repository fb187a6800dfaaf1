"""Writes the reference from what is declared: operators, commands, options, connections and the policy's schema.

A line ``<!-- generated: NAME -->`` of a page gives way to Markdown that a function here returns. It is read like the
rest of the page, so headings, links and contents know it. On a page that is read as a file it is a comment.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

_MARKER = re.compile(r"^<!-- generated: ([a-z-]+)(?: (\S+))? -->$", flags=re.MULTILINE)
_PARAMETER = re.compile(r"^:param (\w+): (.*(?:\n    .*)*)", flags=re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")


def _cell(text: object) -> str:
    return _ROLE.sub(r"`\1`", " ".join(str(text).split())).replace("``", "`").replace("|", r"\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"
    yield ""


def _documented(directive: str, *options: str) -> list[str]:
    return ["```{eval-rst}", f".. {directive}", *(f"   :{option}:" for option in options), "```", ""]


def classes(package: str) -> Iterator[str]:
    """Write each public class of a package that loads its names lazily."""
    for name in sorted(importlib.import_module(package).__all__):
        yield f"## {name}\n"
        yield from _documented(f"autoclass:: {package}.{name}")


def module_classes(package: str) -> Iterator[str]:
    """Write each class that the modules of a package export, module by module."""
    import pkgutil

    found = importlib.import_module(package)
    for module in sorted(one.name for one in pkgutil.iter_modules(found.__path__)):
        name = f"{package}.{module}"
        yield from (f"## `{name}`\n", *_documented(f"automodule:: {name}", "members"))


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    here = (*words, command.name)
    if hasattr(command, "subcommands"):
        for one in command.subcommands:
            yield from _commands(one, here)
    else:
        yield " ".join(here), command


def _argument(arg: Any) -> tuple[str, str, str]:
    options = arg.kwargs
    name = ", ".join(f"`{flag}`" for flag in arg.flags)
    value = options.get("metavar")
    needed = options.get("required") or (not arg.flags[0].startswith("-") and options.get("nargs") != "?")
    return name, f"`{value}`" if value else "", (options.get("help") or "") + (" **Required.**" if needed else "")


def commands(_: str) -> Iterator[str]:
    """Write each command of ``airflow mlops``, as the command line declares it."""
    from airflow_mlops.cli.definition import get_cli_commands

    for top in get_cli_commands():
        for name, command in sorted(_commands(top, ("airflow",))):
            yield f"## `{name}`\n\n{command.help}.\n"
            rows = [_argument(arg) for arg in command.args]
            if rows:
                yield from _table(("argument", "value", "meaning"), rows)


def configuration(_: str) -> Iterator[str]:
    """Write each option of the section ``[mlops]``."""
    from airflow_mlops.provider_info import get_provider_info

    for name, option in get_provider_info()["config"]["mlops"]["options"].items():
        yield f"## `{name}`\n\n{option['description']}\n"
        yield f"Environment variable: `AIRFLOW__MLOPS__{name.upper()}`. Default: "
        yield f"`{option['default']}`. Example:\n" if option["default"] else "none. Example:\n"
        yield f"```text\n[mlops]\n{name} = {option['example']}\n```\n"


def connections(_: str) -> Iterator[str]:
    """Write each connection type: its form, and what its hook's docstring says."""
    from airflow_mlops.provider_info import get_provider_info

    for kind in get_provider_info()["connection-types"]:
        behaviour = kind["ui-field-behaviour"]
        standard = [("conn_type", kind["connection-type"], "")]
        for field in ("host", "port", "schema", "login", "password"):
            if field not in behaviour["hidden-fields"]:
                label = behaviour["relabeling"].get(field, field.capitalize())
                standard.append((field, label, behaviour["placeholders"].get(field, "")))
        rows = [(f"`{name}`", label, f"`{example}`" if example else "") for name, label, example in standard]
        for name, field in kind["conn-fields"].items():
            example = behaviour["placeholders"].get(name, "")
            rows.append((f"extra `{name}`", field["label"], f"`{example}`" if example else ""))
        yield f"## {kind['hook-name']}\n"
        yield from _table(("field", "meaning", "example"), rows)
        yield from _documented(f"autoclass:: {kind['hook-class-name']}", "members", "no-index")


def _meanings(kind: Any) -> dict[str, str]:
    return dict(_PARAMETER.findall(inspect.getdoc(kind) or ""))


def _dataclass_in(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return hint
    return next(filter(None, map(_dataclass_in, typing.get_args(hint))), None)


def _form(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_form(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_form(schema['items'])}" if isinstance(schema.get("items"), Mapping) else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"name to {_form(schema['additionalProperties'])}"
    return str(schema.get("type", "anything")).replace("object", "mapping")


def _inner(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "properties" in schema:
        return schema
    choices = [*schema.get("anyOf", ()), *(one for one in [schema.get("items")] if isinstance(one, Mapping))]
    return next(filter(None, map(_inner, choices)), None)


def _default(field: Any) -> str:
    if field is None or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING):
        return "**required**"
    value = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    if value is None or value == ():
        return "none"
    return "see below" if dataclasses.is_dataclass(value) else f"`{json.dumps(value, default=str)}`"


def _properties(schema: Mapping[str, Any], kind: Any, where: str) -> Iterator[str]:
    hints, meanings = typing.get_type_hints(kind), _meanings(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    rows = [
        (f"`{name}`", _form(one), _default(fields.get(name)), meanings.get(name, ""))
        for name, one in schema["properties"].items()
    ]
    yield from _table(("field", "value", "default", "meaning"), rows)
    for name, one in schema["properties"].items():
        inner, below = _inner(one), _dataclass_in(hints.get(name))
        if inner is not None and below is not None:
            text = (inspect.getdoc(below) or "").partition("\n:param")[0].replace("``", "`")
            text = _ROLE.sub(r"`\1`", text).strip()
            yield f"## `{where}{name}`\n\n{text}\n"
            yield from _properties(inner, below, f"{where}{name}.")


def policy_schema(_: str) -> Iterator[str]:
    """Write the policy of a gate: types from its JSON Schema, meanings from the docstrings that it was made of."""
    from airflow_mlops.evaluation.policy import GatePolicy
    from airflow_mlops.schemas import load_schema

    yield from _properties(load_schema("gate-policy-1"), GatePolicy, "")


def schema_list(_: str) -> Iterator[str]:
    """List all JSON Schemas that the package ships."""
    from airflow_mlops.schemas import load_schema, names

    yield from _table(("schema", "form"), [(f"`{name}`", load_schema(name).get("title", "")) for name in names()])


#: Hooks that a task of a user's own may want.
HOOKS = (
    "airflow_mlops.hooks.mlflow.MLflowHook",
    "airflow_mlops.hooks.gateway.ModelGatewayHook",
    "airflow_mlops.hooks.artifacts.ArtifactStore",
)
HOOK_MODULES = ("airflow_mlops.hooks.evidence", "airflow_mlops.hooks.docker", "airflow_mlops.hooks.cluster")
#: What is written as a mapping or a YAML file, by what it is for.
SPECIFICATIONS: Mapping[str, tuple[str, ...]] = {
    "Rollouts": ("airflow_mlops.rollout.spec", "airflow_mlops.rollout.checks"),
    "Shadows": ("airflow_mlops.rollout.shadow_spec", "airflow_mlops.rollout.replay"),
    "Suites of data": ("airflow_mlops.validation.spec",),
    "Evaluations": (
        "airflow_mlops.evaluation.spec",
        "airflow_mlops.evaluation.diagnostics.Diagnostics",
        "airflow_mlops.evaluation.explanations.ExplanationsSpec",
        "airflow_mlops.evaluation.error_examples.ErrorExamplesSpec",
    ),
    "Monitoring": ("airflow_mlops.monitoring.spec.MonitorPolicy",),
    "Loading of models": ("airflow_mlops.loading.LoadingPolicy", "airflow_mlops.loading.SignaturePolicy"),
    "Export to ONNX": ("airflow_mlops.evaluation.onnx_parity.OnnxSpec",),
    "Pods, containers and volumes": (
        "airflow_mlops.training.pods.PodResources",
        "airflow_mlops.training.pods.PodVolume",
        "airflow_mlops.training.pods.SecretVariable",
        "airflow_mlops.training.resources.DockerResources",
        "airflow_mlops.training.resources.Ulimit",
        "airflow_mlops.training.backends.DockerSettings",
        "airflow_mlops.training.backends.KubernetesSettings",
    ),
    "What a model's author says": ("airflow_mlops.governance.card_facts.CardText",),
    "Model servers in a cluster": ("airflow_mlops.adapters.serving.fleet_settings.FleetSettings",),
    "References": ("airflow_mlops.references",),
}


def _either(name: str) -> list[str]:
    is_class = name.rpartition(".")[2][0].isupper()
    return _documented(f"autoclass:: {name}") if is_class else _documented(f"automodule:: {name}", "members")


def hooks(_: str) -> Iterator[str]:
    """Write the hooks of connection types, and what reaches stores and clusters."""
    for name in HOOKS:
        yield from (f"## {name.rpartition('.')[2]}\n", *_documented(f"autoclass:: {name}", "members"))
    for name in HOOK_MODULES:
        yield from (f"## `{name}`\n", *_documented(f"automodule:: {name}", "members"))


def specifications(_: str) -> Iterator[str]:
    """Write the dataclasses behind mappings and YAML files."""
    for title, names in SPECIFICATIONS.items():
        yield f"## {title}\n"
        for name in names:
            yield from _either(name)


WRITERS: Mapping[str, Callable[[str], Iterator[str]]] = {
    "classes": classes,
    "commands": commands,
    "configuration": configuration,
    "connections": connections,
    "hooks": hooks,
    "module-classes": module_classes,
    "policy-schema": policy_schema,
    "schemas": schema_list,
    "specifications": specifications,
}


def write(app: Any, docname: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx's form of a listener
    """Replace the markers of a page."""
    source[0] = _MARKER.sub(lambda found: "\n".join(WRITERS[found[1]](found[2] or "")), source[0])


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
