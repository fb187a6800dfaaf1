"""``airflow mlops gate backtest``: what the gate stored, replayed through Airflow's own command line."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.evaluations import past_gates
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ModelGateOperator
from airflow_mlops.verdict import Verdict

POLICY = {"minimum_rows": {"rows": 500, "positives": 50}, "absolute": [{"metric": "roc_auc", "minimum": 0.6}]}
STRICTER = "minimum_rows: {rows: 500, positives: 50}\nabsolute:\n  - {metric: roc_auc, minimum: 0.65}\n"


@pytest.fixture
def backtest(airflow_db, artifact_root, tmp_path, capsys):
    """Run the command; returns exit status, output and errors."""
    from airflow.cli.cli_parser import get_parser

    def run(policy=STRICTER, *words):
        file = tmp_path / "stricter.yaml"
        file.write_text(policy)
        args = get_parser().parse_args(["mlops", "gate", "backtest", str(file), *words])
        capsys.readouterr()
        status = 0
        try:
            args.func(args)
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def judged(run_dag, artifact_root, tmp_path):
    """Let the gate judge a candidate with this area under the curve."""
    numbers = iter(range(100))

    def run(auc, *, model_name="flights"):
        number = next(numbers)
        given = _evaluation(artifact_root / f"report-{number}.json", auc)
        with DAG(f"gate_{tmp_path.name}_{number}", schedule=None) as dag:
            ModelGateOperator(task_id="gate", evaluation=given, policy=POLICY, model_name=model_name)
        return run_dag(dag)

    return run


def test_past_decisions_that_would_flip_are_listed_with_the_reason(backtest, judged, artifact_root):
    for auc in (0.7, 0.62, 0.5):
        judged(auc)
    judged(0.61, model_name="Other model, 100 %")
    (first, *_) = ArtifactStore(f"file://{artifact_root}").read_evidence("flights")
    assert first.policy_digest == digest_of(encode(parse_policy(POLICY)))

    status, out, err = backtest()
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "pass -> fail" in lines[0]
    assert lines[0].startswith("flights, 20")
    assert lines[1].startswith("    roc_auc.minimum: was pass, would be fail: roc_auc 0.6200")
    assert lines[2].startswith("Other model, 100 %, 20")
    assert lines[-1].startswith("2 of 4 past decisions would flip under ")
    assert len(lines) == 5

    status, out, _ = backtest(STRICTER, "--model", "flights", "--json")
    document = json.loads(out)
    assert status == 0
    assert document["policy_digest"].startswith("sha256:")
    assert [(one["was"], one["would_be"], one["flips"]) for one in document["decisions"]] == [
        ("pass", "pass", False),
        ("pass", "fail", True),
        ("fail", "fail", False),
    ]

    (artifact_root / "report-0.json").write_text("{}")
    (artifact_root / "report-1.json").unlink()
    status, out, _ = backtest()
    assert status == 0
    assert "pass, cannot be replayed: file://" in out
    assert "the content changed" in out
    assert "1 of 4 past decisions would flip, 2 cannot be replayed under" in out


def test_where_there_is_nothing_to_replay_it_says_so(backtest, judged, artifact_root):
    status, out, err = backtest()
    assert (status, out) == (1, "")
    assert err == f"there is nothing to replay: file://{artifact_root}/evidence holds no decision of a gate\n"
    judged(0.7)
    status, _, err = backtest(STRICTER, "--model", "flight")
    assert (status, err) == (1, "model: 'flight' is not accepted; expected one with evidence: flights\n")
    (artifact_root / "report-0.json").unlink()
    status, _, err = backtest()
    assert status == 1
    assert "there is nothing to replay: none of 1 decisions still has its evaluation; the newest: " in err


def test_a_wrong_policy_is_named(backtest):
    status, _, err = backtest("absolute: [{metric: roc_auc, minimun: 0.6}]")
    assert status == 1
    assert "policy.absolute[0].minimun: 0.6 is not accepted; expected no such field; did you mean 'minimum'?" in err


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_subjects_of_evidence_are_found_by_their_real_names(artifact_root, kind):
    attach("memory", fs=MemoryFileSystem())
    root = f"file://{artifact_root}" if kind == "local" else f"memory://bucket-{uuid.uuid4().hex}/root"
    store = ArtifactStore(root)
    assert store.evidence_subjects() == ()
    names = ("flights", "a/b: c", "x" * 300)
    for name in names:
        origin = Origin(dag_id="d", run_id="r", task_id="t", try_number=1)
        document = Evidence(
            decision="gate", subject=name, verdict=Verdict.PASS, checks=(), origin=origin, decided_at=1.0
        )
        store.write_evidence(document)
    assert store.evidence_subjects() == tuple(sorted(names))
    assert [one.evidence.subject for one in past_gates(store, "x" * 300)] == ["x" * 300]


def _evaluation(path: Path, auc):
    estimate = {"value": auc, "low": auc - 0.01, "high": auc + 0.01, "method": "made up"}
    report = {
        "target": "late",
        "confidence": 0.95,
        "days": 28,
        "candidate": {"rows": 4000, "positives": 200, "metrics": {"roc_auc": estimate}},
        "reference": {"rows": 1, "label_rate": 0.2, "mean_prediction": 0.2, "brier": 0.1, "by_day": []},
    }
    path.write_text(json.dumps(report))
    candidate = {"uri": "file:///m", "digest": manifest_of(path).digest, "format": "mlflow", "size_bytes": 1}
    return {
        "evaluation_uri": f"file://{path}",
        "evaluation_digest": manifest_of(path).digest,
        "candidate": candidate,
        "dataset": None,
    }
