"""Where a version comes from, as tags and metrics of the registry, and whether its gate lets it in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.evidence import Evidence
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["files_check", "gate_check", "lineage_tags", "summary_metrics"]

_NOT_IN_METRIC_NAMES = re.compile(r"[^A-Za-z0-9_./ -]")


def lineage_tags(
    datasets: Mapping[str, Any] | None, evaluation: Mapping[str, Any] | None, gate: Mapping[str, Any] | None
) -> dict[str, str]:
    """Tags that name the data, the evaluation and the gate's evidence behind a version.

    :param datasets: role to one encoded DatasetRef or a list of them
    :param evaluation: what the evaluation task returned
    :param gate: what the gate task returned
    :raises SpecificationError: if a dataset has no digest
    """
    tags = {}
    for role, given in (datasets or {}).items():
        references = [given] if isinstance(given, Mapping) else list(given)
        for reference in references:
            if not isinstance(reference, Mapping) or not reference.get("digest"):
                raise SpecificationError(f"datasets.{role}", reference, "an encoded DatasetRef, with a digest")
        tags[f"mlops.dataset.{role}"] = ", ".join(str(one["digest"]) for one in references)
        partitions = [str(one["partition"]) for one in references if one.get("partition")]
        if partitions:
            tags[f"mlops.partitions.{role}"] = ", ".join(partitions)
    named = {
        "mlops.evaluation_uri": (evaluation or {}).get("evaluation_uri"),
        "mlops.evaluation_digest": (evaluation or {}).get("evaluation_digest"),
        "mlops.gate_verdict": (gate or {}).get("verdict"),
        "mlops.gate_evidence": (gate or {}).get("evidence_digest"),
    }
    return tags | {name: str(value) for name, value in named.items() if value}


def summary_metrics(evaluation: Mapping[str, Any] | None) -> dict[str, float]:
    """All finite numbers in an evaluation's summary, by dotted name."""
    return dict(_numbers((evaluation or {}).get("summary") or {}, ""))


def gate_check(evidence: Evidence | None, model: ModelRef) -> tuple[CheckResult, ...]:
    """Check that the gate's evidence is about this model and lets it pass; nothing where there is no gate.

    :raises ContractError: if the evidence is about another model, is no gate's, or did not pass
    """
    if evidence is None:
        return ()
    if evidence.decision not in ("gate", "approval"):
        raise ContractError(f"gate: its evidence is of the kind {evidence.decision!r}, not 'gate' or 'approval'")
    candidate = evidence.references.get("candidate")
    judged = candidate.get("digest") if isinstance(candidate, Mapping) else None
    if judged != model.digest:
        raise ContractError(f"gate: its evidence is about the model {judged}, but {model.digest} was to be registered")
    if evidence.decision == "gate" and evidence.notes.get("asks"):
        raise ContractError("gate: it asked a person, and this is not the evidence of their approval")
    if not evidence.verdict.promotes:
        raise ContractError(f"gate: its verdict is {evidence.verdict.value!r}; only 'pass' and 'warn' register")
    return (
        CheckResult(name="gate", verdict=evidence.verdict, reason=f"the gate's verdict is {evidence.verdict.value}"),
    )


def _numbers(value: Any, name: str) -> list[tuple[str, float]]:
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _numbers(item, f"{name}.{key}" if name else str(key))]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return []
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return [(_NOT_IN_METRIC_NAMES.sub("_", name), float(value))]
    return []


def files_check(model: ModelRef) -> CheckResult:
    """Record that the model's files were read and have the digest that was promised."""
    return CheckResult(
        name="files",
        verdict=Verdict.PASS,
        reason=f"{model.size_bytes} bytes were read and have the digest {model.digest}",
        value=float(model.size_bytes),
    )
