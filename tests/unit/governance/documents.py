"""Decisions with their place in a chain, short to write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.governance.decided import Document
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["data", "decided", "numbered", "ref", "registered", "rolled", "whole_release"]


def ref(letter: str) -> dict[str, Any]:
    return {"uri": f"file:///{letter}", "digest": "sha256:" + letter * 64, "format": "mlflow", "size_bytes": 1}


def data(letter: str, partition: str) -> dict[str, Any]:
    return ref(letter) | {"format": "parquet", "rows": 1, "partition": partition}


def decided(
    decision: Any, verdict: str = "pass", *, at: float = 0.0, dag_id: str = "ct", subject: str = "flights", **more: Any
) -> Evidence:
    found = Verdict(verdict)
    check = CheckResult(name="a.check", verdict=found, reason=f"{decision} {verdict}")
    return Evidence(
        decision=decision,
        subject=subject,
        verdict=found,
        checks=more.pop("checks", (check,)),
        origin=Origin(dag_id=dag_id, run_id="run", task_id=decision, try_number=1),
        decided_at=at,
        **more,
    )


def registered(version: str, letter: str, *, at: float = 0.0) -> Evidence:
    datasets = {"train": [data("1", "2013-01"), data("2", "2013-02")], "holdout": data("3", "2013-03")}
    notes = {"version": version, "alias": "challenger"}
    return decided("registration", at=at, references={"model": ref(letter), "datasets": datasets}, notes=notes)


def rolled(version: str, letter: str, weight: int, *, phase: str = "progressing", at: float = 0.0) -> Evidence:
    server, stable = f"flights-v{version}", "flights-v1"
    shares = {server: weight, stable: 100 - weight}
    notes = {"candidate": server, "stable": stable, "phase": phase, "reason": f"{weight} %", "decision_number": 1}
    notes |= {"weights": {name: share for name, share in shares.items() if share}, "rollout": "cd/run/canary/-1/7.5"}
    verdict = {"progressing": "inconclusive", "promoted": "pass", "rolled_back": "fail"}[phase]
    return decided("rollout", verdict, at=at, references={"candidate": ref(letter)}, notes=notes, dag_id="cd")


def whole_release(version: str, letter: str, *, at: float = 0.0) -> list[Evidence]:
    return [
        decided("gate", at=at, references={"candidate": ref(letter), "dataset": data("3", "2013-03")}),
        registered(version, letter, at=at + 1),
        rolled(version, letter, 10, at=at + 2),
        rolled(version, letter, 100, phase="promoted", at=at + 3),
        decided("promotion", at=at + 4, references={"model": ref(letter)}, notes={"version": version}, dag_id="cd"),
    ]


def numbered(documents: Iterable[Evidence]) -> list[Document]:
    return [
        Document(number=number, digest=f"sha256:{number:064x}", evidence=document)
        for number, document in enumerate(documents, start=1)
    ]
