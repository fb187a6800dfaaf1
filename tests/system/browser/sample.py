"""A release as values, so that pages can be drawn without an Airflow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_mlops.evidence import Decision, Evidence, Origin, digest
from airflow_mlops.governance.decided import Document
from airflow_mlops.rollout.figures import Figures
from airflow_mlops.rollout.live import LiveArm, LiveChange, LiveMetric, LiveRollout, LiveStep
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["NOW", "documents", "live"]

NOW = 1_795_249_900.0
_RUN = "manual__2026-11-21T08:23:50.294577+00:00"
_TRAFFIC = (
    (90, 10, "progressing", "the rollout begins"),
    (110, 25, "progressing", "nothing speaks against it"),
    (142, 100, "promoted", "proven at 50 %"),
)
_METRIC = LiveMetric(
    name="error_rate",
    what="requests that failed",
    failures=3,
    trials=212,
    stable_failures=5,
    stable_trials=600,
    increase=0.006,
    low=-0.009,
    high=0.031,
    tolerated=0.02,
    harm_kind="e_value",
    harm_value=0.4,
    harm_threshold=40.0,
    harm_verdict=Verdict.PASS,
    harm_missing=None,
    proof_bound=0.034,
    proof_verdict=Verdict.INCONCLUSIVE,
    proof_missing=120,
    figures=Figures(
        name="error_rate",
        what="requests that failed",
        candidate="3 of 212 (1.42%)",
        stable="5 of 600 (0.83%)",
        increase="+0.60% (-0.90% to +3.10%)",
        harm="e-value 0.4, 40 shows it",
        proof="open: at most +3.40%, 2.00% tolerated",
        missing="proof with about 120 more requests",
    ),
)


def documents() -> tuple[Document, ...]:
    """Return the decisions about versions 2, which serves, and 3, which is rolled out."""
    found: list[Evidence] = []
    _release(found, "2", "1", NOW - 90_000, len(_TRAFFIC))
    _decide(found, "drift", "watch", NOW - 40_000, verdict=Verdict.FAIL, notes={"champion": "2", "window": "2013-06"})
    _release(found, "3", "2", NOW - 200, 2)
    return tuple(Document(number=at, digest=digest(one), evidence=one) for at, one in enumerate(found, start=1))


def live(**changes: Any) -> LiveRollout:
    """Return a rollout in its second step."""
    return replace(
        LiveRollout(
            model_name="flights",
            candidate="flights-v3",
            stable="flights-v2",
            phase="progressing",
            reason="nothing speaks against it",
            standing="12 of 10 s, 212 requests at flights-v3 and 600 at flights-v2 of 150",
            arms=(
                LiveArm(name="flights-v3", role="candidate", weight_percent=25, requests=212, share=0.261),
                LiveArm(name="flights-v2", role="stable", weight_percent=75, requests=600, share=0.739),
            ),
            share_verdict=Verdict.PASS,
            steps=(
                LiveStep(text="10 % of the requests", weight_percent=10, place="done"),
                LiveStep(text="25 % of the requests", weight_percent=25, place="now"),
            ),
            step_index=1,
            metrics=(_METRIC,),
            history=(
                LiveChange(
                    at=NOW - 110,
                    weights={"flights-v2": 90, "flights-v3": 10},
                    verdict=Verdict.INCONCLUSIVE,
                    reason="the rollout begins",
                ),
                LiveChange(
                    at=NOW - 80,
                    weights={"flights-v2": 75, "flights-v3": 25},
                    verdict=Verdict.PASS,
                    reason="nothing speaks against it",
                ),
            ),
            started_at=NOW - 110,
            step_since=NOW - 75,
            looked_at=NOW - 2,
            look_seconds=1.0,
            min_seconds=10.0,
            min_requests=150,
            weights={"flights-v2": 75, "flights-v3": 25},
        ),
        **changes,
    )


def _release(found: list[Evidence], version: str, before: str, began_at: float, changes: int) -> None:
    model = {"candidate": {"digest": "sha256:" + version * 64}}
    auc = CheckResult(
        name="roc_auc.minimum",
        verdict=Verdict.PASS,
        reason="roc_auc 0.6389, at least 0.58",
        value=0.6389,
        low=0.6007,
        high=0.677,
        threshold=0.58,
        sample_size=27_564,
    )
    data = {"datasets": {"train": [{"digest": "sha256:" + "d" * 64, "partition": "2013-01"}]}}
    _decide(found, "gate", "gate", began_at, checks=(auc,), references=model | data)
    notes = {"version": version, "alias": "challenger"}
    _decide(found, "registration", "register", began_at + 5, references=model, notes=notes)
    old, new = f"flights-v{before}", f"flights-v{version}"
    for number, (after, percent, phase, reason) in enumerate(_TRAFFIC[:changes]):
        weights = {old: 100 - percent, new: percent} if percent < 100 else {new: 100}
        moved = {
            "rollout": f"cd_flights/{_RUN}/canary/-1/{began_at + 90}",
            "decision_number": number,
            "candidate": new,
            "stable": old,
            "weights": weights,
            "reason": reason,
            "phase": phase,
        }
        _decide(found, "rollout", "canary", began_at + after, references=model, notes=moved)
    if changes == len(_TRAFFIC):
        _decide(found, "promotion", "promote", began_at + 145, references=model, notes={"version": version})


def _decide(
    found: list[Evidence], decision: Decision, task: str, at: float, *, verdict: Verdict = Verdict.PASS, **more: Any
) -> None:
    found.append(
        Evidence(
            decision=decision,
            subject="flights",
            verdict=verdict,
            checks=more.pop("checks", ()),
            origin=Origin(dag_id="cd_flights", run_id=_RUN, task_id=task, try_number=1),
            decided_at=at,
            previous=digest(found[-1]) if found else None,
            **more,
        )
    )
