"""What our tasks tell OpenLineage: its own provider, in real task runs, writing to a file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.sdk import DAG

import airflow_mlops
from airflow_mlops import operators
from airflow_mlops.governance.flows import FLOWS
from airflow_mlops.operators import (
    ModelGateOperator,
    ProfileDataOperator,
    SnapshotDatasetOperator,
    ValidateDataOperator,
)
from tests.airflow.operators.test_all import _required

DOCS = Path(__file__).parents[2] / "docs/lineage.md"
SCHEMAS = Path(airflow_mlops.__file__).parent / "schemas/openlineage"
NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}}


def rows_of(heading: str) -> list[list[str]]:
    section = DOCS.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_has_every_operator_and_says_what_the_code_does():
    table = {row[0].strip("`"): row[1:] for row in rows_of("Operators")}
    assert sorted(table) == sorted(FLOWS)
    assert set(operators.__all__) <= set(table)
    for name, (reads, makes, _) in table.items():
        flow = FLOWS[name]
        if flow.fields or flow.read:
            assert reads, f"{name} reads something"
        assert bool(flow.made) == bool(makes), name


SHA = "sha256:" + "1" * 64
#: What a field or a result of each kind holds, and the facets that tell of it.
SAMPLES = {
    "data": ({"format": "parquet", "size_bytes": 7, "rows": 3, "columns": {"a": "int"}}, {"version", "schema"}),
    "document": (None, set()),
    "file": ({"size_bytes": 7}, {"version"}),
    "image": ({"format": "docker", "size_bytes": 7}, {"version", "mlops_image"}),
    "model": ({"format": "mlflow", "size_bytes": 7}, {"version", "mlops_model"}),
    "place": (None, set()),
    "version": (None, {"version", "mlops_model"}),
}


def sample(kind: str, path: str):
    uri = f"s3://aws@bucket/{path or 'all'}"
    more, _ = SAMPLES[kind]
    if kind == "version":
        model = {"uri": uri, "digest": SHA, "format": "mlflow", "size_bytes": 7}
        return {"name": "flights", "version": "3", "model": model, "tags": {}, "run_id": None}
    if kind == "image":
        return {"uri": f"registry.example/{path}:1", "digest": SHA, **more}
    return uri if more is None else {"uri": uri, "digest": SHA, **more}


def put(values: dict, path: str, value) -> dict:
    """The values with one more below its path."""
    if not path:
        return {**values, **value}
    head, _, rest = path.partition(".")
    return {**values, head: put(values.get(head, {}), rest, value) if rest else value}


@pytest.mark.parametrize("name", operators.__all__)
def test_every_operator_tells_what_its_row_says(name, monkeypatch):
    """By the real classes: each field that it reads and each part of its result becomes a node with its facets."""
    pytest.importorskip("airflow.providers.openlineage")
    from airflow_mlops.hooks import places

    monkeypatch.setattr(places, "_NOTED", {"mlflow_default": ("mlflow://registry:5000", "", "")})
    flow, operator = FLOWS[name], getattr(operators, name)
    with DAG("tells", schedule=None):
        made = operator(task_id="t", **_required(operator))
    fields: dict = {}
    for path, kind in flow.fields.items():
        fields = put(fields, path, sample(kind, path))
    for field, value in fields.items():
        monkeypatch.setattr(made, field, value, raising=False)
    result: dict = {}
    for path, kind in {**flow.read, **flow.made}.items():
        result = put(result, path, sample(kind, f"result/{path}"))

    begun = made.get_openlineage_facets_on_start()
    assert begun.outputs == []
    made.outcome = result
    done = made.get_openlineage_facets_on_complete(None)
    assert len(done.inputs) == len({**flow.fields, **{f"result/{path}": kind for path, kind in flow.read.items()}})
    assert len(done.outputs) == len(flow.made)
    for node, kind in zip(done.inputs, [*flow.fields.values(), *flow.read.values()], strict=True):
        assert SAMPLES[kind][1] <= set(node.facets)
    for node, kind in zip(done.outputs, flow.made.values(), strict=True):
        assert SAMPLES[kind][1] <= set(node.facets)


@pytest.fixture
def events(tmp_path, monkeypatch):
    """Turn the provider on as its plugin does; the events that it has written."""
    pytest.importorskip("airflow.providers.openlineage")
    file = tmp_path / "events.jsonl"
    transport = {"type": "file", "log_file_path": str(file), "append": True}
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__NAMESPACE", "tests")
    # By itself it forks, which newer Pythons warn of in a process with threads, as this one is.
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD", "True")
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins.listener import OpenLineageListener
    from airflow.sdk.listener import get_listener_manager

    def forget():
        for one in vars(conf).values():
            if hasattr(one, "cache_clear"):
                one.cache_clear()

    forget()
    listener = OpenLineageListener()
    get_listener_manager().add_listener(listener)
    yield lambda: [json.loads(line) for line in file.read_text().splitlines()]
    get_listener_manager().pm.unregister(listener)
    forget()


def by_task(found: list[dict], kind: str) -> dict[str, dict]:
    return {one["job"]["name"].partition(".")[2]: one for one in found if one["eventType"] == kind}


def test_a_run_tells_what_its_tasks_read_and_found(run_dag, events, tmp_path, artifact_root):
    import pandas as pd

    file = tmp_path / "rows.parquet"
    pd.DataFrame({"a": [1.0, 2.0, 3.0, None], "b": ["x", "y", "z", "x"]}).to_parquet(file)
    with DAG("lineage", schedule=None) as dag:
        taken = SnapshotDatasetOperator(task_id="take", uri=str(file))
        ProfileDataOperator(task_id="profile", dataset=taken.output)
        warned = {**NOT_NULL, "severity": "warning"}
        ValidateDataOperator(task_id="warn", dataset=taken.output, suite={"name": "warned", "rules": [warned]})
        ValidateDataOperator(task_id="fail", dataset=taken.output, suite={"name": "failed", "rules": [NOT_NULL]})
    run = run_dag(dag)
    assert run.states == {"take": "success", "profile": "success", "warn": "success", "fail": "failed"}
    found = events()
    begun, done, failed = (by_task(found, kind) for kind in ("START", "COMPLETE", "FAIL"))
    digest = run.xcom("take")["digest"]

    # Before it has looked, a task knows where; then it knows what.
    (before,), (after,) = begun["take"]["inputs"], done["take"]["inputs"]
    assert (before["namespace"], before["name"]) == (after["namespace"], after["name"]) == ("file", str(file))
    assert "version" not in before["facets"]
    assert after["facets"]["version"]["datasetVersion"] == digest
    assert [field["name"] for field in after["facets"]["schema"]["fields"]] == ["a", "b"]
    assert after["inputFacets"]["inputStatistics"]["rowCount"] == 4

    (profiled,) = done["profile"]["inputs"]
    column = profiled["inputFacets"]["dataQualityMetrics"]["columnMetrics"]["a"]
    assert (column["nullCount"], column["min"], column["max"], column["sum"]) == (1, 1.0, 3.0, 6.0)
    assert all(one["namespace"] == "file" for one in done["profile"]["outputs"])

    for event, severity, verdict in ((done["warn"], "warn", "warn"), (failed["fail"], "error", "fail")):
        (judged,) = event["inputs"]
        (rule,) = judged["inputFacets"]["dataQualityAssertions"]["assertions"]
        assert (rule["success"], rule["severity"], rule["column"], rule["actual"]) == (False, severity, "a", "0.25")
        (decision,) = event["run"]["facets"]["mlops_decision"]["decisions"]
        assert (decision["decision"], decision["verdict"]) == ("validation", verdict)
        assert decision["evidenceDigest"].removeprefix("sha256:")[:12] in decision["evidenceUri"]
    check_our_facets(found)


def test_a_gate_that_says_no_tells_why(run_dag, events, tmp_path, artifact_root):
    sha = "sha256:" + "0" * 64
    model = {"uri": "s3://aws@models/flights", "digest": sha, "format": "mlflow", "size_bytes": 1}
    nowhere = {"evaluation_uri": f"file://{artifact_root}/none.json", "evaluation_digest": sha, "candidate": model}
    policy = {"name": "p", "rules": [{"metric": "roc_auc", "kind": "floor", "minimum": 0.6}]}
    with DAG("lineage_gate", schedule=None) as dag:
        ModelGateOperator(task_id="gate", evaluation=nowhere, policy=policy, model_name="flights")
    assert run_dag(dag).states == {"gate": "failed"}
    event = by_task(events(), "FAIL")["gate"]
    assert ("s3://models", "flights") in [(one["namespace"], one["name"]) for one in event["inputs"]]
    facet = next(one for one in event["inputs"] if one["name"] == "flights")["facets"]["mlops_model"]
    assert facet["modelName"] == "flights"
    check_our_facets(events())


def check_our_facets(found: list[dict]) -> None:
    """Every facet of ours is what its schema says, and its address leads to that schema."""
    import jsonschema

    text = json.dumps(found)
    for address in set(re.findall(r'"_schemaURL": "([^"]*airflow-mlops[^"]*)"', text)):
        assert (SCHEMAS / address.rsplit("/", 1)[1]).is_file(), address
    for event in found:
        facets = dict(event["run"]["facets"])
        for data in (*event["inputs"], *event["outputs"]):
            facets |= data["facets"]
            for name in ("mlops_model", "mlops_image", "mlops_decision"):
                if name in facets:
                    schema = json.loads((SCHEMAS / facets[name]["_schemaURL"].rsplit("/", 1)[1]).read_text())
                    jsonschema.Draft202012Validator(schema).validate(facets[name])


def test_operators_load_nothing_of_openlineage():
    script = """
import sys
import airflow_mlops.hooks.openlineage
import airflow_mlops.operators as operators
for name in operators.__all__:
    getattr(operators, name)
print([name for name in sys.modules if name.startswith(("openlineage", "airflow.providers.openlineage."))])
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    # Airflow itself reads what every installed provider is.
    assert done.stdout.splitlines()[-1] in ("[]", "['airflow.providers.openlineage.get_provider_info']")
