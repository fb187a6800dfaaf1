"""From a drift finding to the decision whether to train again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict

__all__ = ["DriftFinding", "RetrainingDecision", "decide_retraining", "first_request", "parse_finding"]


@dataclass(frozen=True, kw_only=True)
class DriftFinding:
    """What the governor needs to know of a drift check.

    :param verdict: ``FAIL`` means drifted
    :param window: what was looked at, for example ``2013-06``
    :param champion: version of the model that was looked at
    :param reason: the sentence that decided
    :param evidence_uri: where the decision record lies
    """

    verdict: Verdict
    window: str
    champion: str
    reason: str
    evidence_uri: str | None


@dataclass(frozen=True, kw_only=True)
class RetrainingDecision:
    """Whether to train again.

    :param wanted: yes or no
    :param reason: why, one sentence
    """

    wanted: bool
    reason: str


def parse_finding(document: Any) -> DriftFinding:
    """Read the result of a drift check.

    :raises SpecificationError: if it is not one
    """
    if not isinstance(document, Mapping):
        raise SpecificationError("drift", document, "the result of DetectDriftOperator")
    for key in ("verdict", "window", "champion"):
        if key not in document:
            raise SpecificationError(f"drift.{key}", None, "a value: this is not the result of DetectDriftOperator")
    try:
        verdict = Verdict(document["verdict"])
    except ValueError:
        accepted = "one of " + ", ".join(repr(one.value) for one in Verdict)
        raise SpecificationError("drift.verdict", document["verdict"], accepted) from None
    uri = document.get("evidence_uri")
    return DriftFinding(
        verdict=verdict,
        window=str(document["window"]),
        champion=str(document["champion"] or ""),
        reason=str(document.get("reason", "")),
        evidence_uri=None if uri is None else str(uri),
    )


def decide_retraining(
    finding: DriftFinding, champion: str, earlier: Iterable[Evidence], origin: Origin
) -> RetrainingDecision:
    """Decide whether to ask for a retraining: only for drift, only for the serving champion, once per champion.

    :param finding: the drift check's result
    :param champion: version of the model that serves now
    :param earlier: the model's decision record
    :param origin: who asks; a second try of the same task gets the same answer as the first
    """
    if finding.verdict is not Verdict.FAIL:
        said = "too little was seen to decide" if finding.verdict is Verdict.INCONCLUSIVE else "no drift was shown"
        return RetrainingDecision(wanted=False, reason=f"{said} in {finding.window}: {finding.reason}")
    if finding.champion and finding.champion != champion:
        reason = f"the drift was found for version {finding.champion}, but version {champion} serves now"
        return RetrainingDecision(wanted=False, reason=reason)
    first = first_request(earlier, champion)
    if first is not None and not is_same_task(first.origin, origin):
        window = first.notes.get("window", "an earlier window")
        reason = f"a retraining was already asked for while version {champion} served: for {window}, by run "
        return RetrainingDecision(wanted=False, reason=f"{reason}{first.origin.run_id!r}")
    return RetrainingDecision(wanted=True, reason=f"{finding.window}: {finding.reason}")


def first_request(earlier: Iterable[Evidence], champion: str) -> Evidence | None:
    """Oldest request for a retraining made while this champion served."""
    requests = (one for one in earlier if one.decision == "retraining" and one.notes.get("champion") == champion)
    return next(requests, None)


def is_same_task(one: Origin, other: Origin) -> bool:
    """Whether two origins are tries of the same task instance."""
    return (one.dag_id, one.run_id, one.task_id, one.map_index) == (
        other.dag_id,
        other.run_id,
        other.task_id,
        other.map_index,
    )
