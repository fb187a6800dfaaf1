"""A shadow or a replay as a page."""

from __future__ import annotations

from airflow_mlops.page import render_page
from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["render_shadow"]

_HEADLINES = {
    Verdict.PASS: "The candidate answers as it may.",
    Verdict.FAIL: "The candidate answers as it may not.",
}


def render_shadow(
    *,
    model_name: str,
    candidate: str,
    stable: str,
    mode: str,
    verdict: Verdict,
    reason: str,
    checks: tuple[CheckResult, ...],
    pairs: PairCounts,
    spec: ShadowSpec,
    evidence_uri: str,
) -> str:
    """Render what answers to the same requests have shown.

    :param mode: ``mirror`` or ``replay``
    :param evidence_uri: where it is recorded
    """
    return render_page(
        "rollout/templates/shadow.html",
        model_name=model_name,
        candidate=candidate,
        stable=stable,
        mode=mode,
        verdict=verdict.value,
        headline=_HEADLINES.get(verdict, "It is not decided whether the candidate answers as it may."),
        reason=reason,
        checks=checks,
        pairs=pairs,
        mean=pairs.difference_sum / pairs.pairs if pairs.pairs else None,
        spec=spec,
        evidence_uri=evidence_uri,
    )
