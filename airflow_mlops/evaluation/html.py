"""The gate's decision as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evaluation.approval import worst_first
from airflow_mlops.evaluation.policy import GatePolicy
from airflow_mlops.evaluation.report import Estimate, EvaluationReport, SliceReport
from airflow_mlops.page import render_page
from airflow_mlops.verdict import CheckResult, Verdict, combine

__all__ = ["render_html"]

_HEADLINES = {
    Verdict.PASS: "The candidate may go on.",
    Verdict.WARN: "The candidate may go on, with a reservation.",
    Verdict.FAIL: "The candidate is not good enough.",
    Verdict.INCONCLUSIVE: "Too little was shown to decide, so the candidate does not go on.",
    Verdict.ERROR: "The candidate could not be judged.",
}


# What tells most about a part of the data in two numbers, by task.
_SHOWN = {"classification": ("roc_auc", "brier"), "regression": ("rmse", "bias"), "ranking": ("ndcg", "map")}


def render_html(
    report: EvaluationReport | None,
    policy: GatePolicy,
    checks: Sequence[CheckResult],
    *,
    model_name: str,
    judged_at: str,
    uses: int | None = None,
    asks: Mapping[str, Any] | None = None,
    answer: CheckResult | None = None,
    evaluation_address: str | None = None,
) -> str:
    """Render a decision for people.

    :param report: what was measured; None if that could not be read
    :param policy: what was asked
    :param checks: what was concluded
    :param model_name: the model
    :param judged_at: when, as text
    :param uses: how many candidates the same data have decided about; None if that is not known
    :param asks: ``until`` and ``assigned_users``, if a person decides
    :param answer: what they decided; None as long as nobody has
    :param evaluation_address: where the evaluation's own page is
    """
    judged = combine(checks)
    verdict = answer.verdict if answer else judged
    return render_page(
        "evaluation/templates/gate.html",
        model_name=model_name,
        verdict=verdict.value,
        judged=judged.value,
        headline=_headline(verdict, checks, asks, answer),
        report=report,
        confidence=f"{100 * report.confidence:g}" if report else "",
        uses=uses,
        asks=asks,
        users=", ".join(str(user["name"]) for user in (asks or {}).get("assigned_users", ())),
        answer=answer,
        evaluation_address=evaluation_address,
        checks=[_check(check) for check in worst_first(checks) if not _is_good_slice(check)],
        good_slices=[_check(check) for check in checks if _is_good_slice(check)],
        metrics=_metrics(report) if report else [],
        slices=[_slice(part, _SHOWN[report.task]) for part in report.slices] if report else [],
        shown=_SHOWN[report.task] if report else (),
        small_slices=report.small_slices if report else {},
        judged_at=judged_at,
        policy_version=policy.policy_version,
        policy_digest=digest_of(encode(policy)),
        policy_text=yaml.safe_dump(_said(encode(policy)), sort_keys=False, allow_unicode=True, width=110),
    )


def _headline(
    verdict: Verdict, checks: Sequence[CheckResult], asks: Mapping[str, Any] | None, answer: CheckResult | None
) -> str:
    if asks and answer is None:
        return "A person decides whether the candidate goes on."
    if answer:
        return "The candidate may go on: a person approved it." if verdict.promotes else "The candidate does not go on."
    if verdict is Verdict.INCONCLUSIVE and any(check.verdict is Verdict.FAIL for check in checks):
        return "The candidate is not good enough by some rules, and by others too little was shown."
    return _HEADLINES[verdict]


def _said(value: Any) -> Any:
    """Return what a policy says, without what it leaves out."""
    if isinstance(value, Mapping):
        return {key: _said(item) for key, item in value.items() if item is not None and item not in ([], {})}
    return [_said(item) for item in value] if isinstance(value, list) else value


def _is_good_slice(check: CheckResult) -> bool:
    """Whether a row of a table is enough for it: thirty cards would hide the one that matters."""
    return "slice" in check.details and check.verdict is Verdict.PASS


def _check(check: CheckResult) -> dict[str, Any]:
    return {
        "name": check.name,
        "verdict": check.verdict.value,
        "reason": check.reason,
        "picture": _picture(check),
        "detectable": _detectable(check),
        "interval": None if check.low is None else f"{check.value:.4f} ({check.low:.4f} to {check.high:.4f})",
        "slice": check.details.get("slice"),
    }


def _detectable(check: CheckResult) -> str | None:
    found = check.details.get("detectable_difference")
    return None if found is None else f"{found:.2g}"


def _picture(check: CheckResult) -> dict[str, float] | None:
    """Place interval, estimate and bound on a line from 0 to 100."""
    if check.low is None or check.high is None or check.value is None or check.threshold is None:
        return None
    marks = [check.low, check.high, check.threshold, *([0.0] if "non_inferiority" in check.name else [])]
    left, right = min(marks), max(marks)
    margin = 0.08 * (right - left) or 1.0

    def place(number: float) -> float:
        return round(100 * (number - left + margin) / (right - left + 2 * margin), 2)

    low, high = place(check.low), place(check.high)
    return {"low": low, "width": round(high - low, 2), "value": place(check.value), "bound": place(check.threshold)}


def _metrics(report: EvaluationReport) -> list[dict[str, str]]:
    champion: Mapping[str, Estimate] = report.champion.metrics if report.champion else {}
    return [
        {
            "name": name,
            "candidate": _text(found),
            "champion": _text(champion.get(name)),
            "difference": _text(report.differences.get(name), "+"),
            "method": found.method,
        }
        for name, found in report.candidate.metrics.items()
    ]


def _slice(part: SliceReport, shown: tuple[str, str]) -> dict[str, Any]:
    columns, values = ((given,) if isinstance(given, str) else given for given in (part.column, part.value))
    return {
        "name": ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True)),
        "rows": f"{part.candidate.rows:,}",
        "positives": f"{part.candidate.positives:,}",
        "found": [_text(part.candidate.metrics.get(name)) for name in shown],
        "difference": _text(part.differences.get(shown[0]), "+"),
    }


def _text(found: Estimate | None, sign: str = "") -> str:
    if found is None:
        return "–"  # noqa: RUF001 - a dash where there is no number
    return f"{found.value:{sign}.4f} ({found.low:{sign}.4f} to {found.high:{sign}.4f})"
