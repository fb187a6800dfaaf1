"""Every snippet of the migration guide runs."""

from __future__ import annotations

import pytest

from tests.documentation import ROOT, blocks
from tests.in_place import fill

pytest.importorskip("great_expectations")
pd = pytest.importorskip("pandas")

SNIPPETS = [block.text for block in blocks("python", pages=(ROOT / "docs" / "migration-great-expectations.md",))]


@pytest.mark.parametrize(
    ("dag_id", "verdict"), [("migrated_frame", "warn"), ("migrated_checkpoint", "pass"), ("migrated_table", "pass")]
)
def test_a_snippet_runs(run_dag, artifact_root, connection, tmp_path, dag_id, verdict):
    from airflow.dag_processing.dagbag import BundleDagBag

    rows = {"flight": ["UA1", "UA2"], "delay": [4.0, 7.5]}
    pd.DataFrame(rows).to_csv(tmp_path / "flights.csv", index=False)
    fill(f"sqlite:///{tmp_path}/warehouse.db", {"flights": rows})
    connection("warehouse", conn_type="sqlite", host=f"{tmp_path}/warehouse.db")
    (code,) = (snippet for snippet in SNIPPETS if f'"{dag_id}"' in snippet)
    (tmp_path / "migrated.py").write_text(code.replace('"/data"', repr(str(tmp_path))))

    bag = BundleDagBag(dag_folder=str(tmp_path / "migrated.py"), bundle_path=tmp_path)
    run = run_dag(bag.dags[dag_id])

    assert (bag.import_errors, run.state) == ({}, "success")
    assert run.xcom("validate")["verdict"] == verdict


def test_there_is_no_other_snippet():
    assert len(SNIPPETS) == 3
