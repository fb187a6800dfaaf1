"""The validation report as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from airflow_mlops.page import render_page
from airflow_mlops.validation.report import RuleResult, ValidationReport, summarise
from airflow_mlops.verdict import Verdict

__all__ = ["render_html"]

_HEADLINES = {
    Verdict.PASS: "The data keep every rule.",
    Verdict.WARN: "The data may be used; some rules that only warn are broken.",
    Verdict.FAIL: "The data are not fit for use.",
    Verdict.INCONCLUSIVE: "Too little was seen to decide.",
    Verdict.ERROR: "Not all that was asked could be checked, so nothing is cleared.",
}


def render_html(report: ValidationReport, *, checked_at: str, quarantine: Mapping[str, Any] | None = None) -> str:
    """Render a report for people.

    :param report: what was found
    :param checked_at: when, as text
    :param quarantine: ``good_rows``, ``bad_rows``, ``broken`` (rule to rows), ``bad`` and ``verdict`` of a dataset
        whose bad rows were set aside
    """
    known = {result.reason for result in report.results}
    return render_page(
        "validation/templates/report.html",
        suite=report.suite,
        dataset=report.dataset,
        verdict=report.verdict.value,
        headline=_HEADLINES[report.verdict],
        summary=summarise(report),
        broken=[_row(result) for result in report.broken],
        kept=[_row(result) for result in report.results if result.passed and result.shows_something],
        lacking=[check.reason for check in report.checks if check.reason not in known],
        checked_at=checked_at,
        quarantine=quarantine if quarantine and quarantine["bad_rows"] else None,
    )


def _row(result: RuleResult) -> dict[str, Any]:
    arguments = {key: value for key, value in result.rule.kwargs.items() if key != "column"}
    return {
        "label": result.rule.label,
        "type": result.rule.type,
        "because": result.rule.because,
        "severity": result.rule.severity,
        "arguments": textwrap.shorten(", ".join(f"{key} = {value}" for key, value in arguments.items()), 300),
        "verdict": result.verdict.value,
        "numbers": _numbers(result),
        "percent": None if result.share is None else round(100 * result.share, 2),
        "examples": result.examples,
        "first_rows": ", ".join(map(str, result.first_rows)),
        "observed": result.observed,
        "error": result.reason if result.rows == 0 else result.error,
    }


def _numbers(result: RuleResult) -> str | None:
    if result.share is None:
        return None
    if not result.unexpected_count:
        return f"0 of {result.rows:,} rows"
    return f"{result.unexpected_count:,} of {result.rows:,} rows ({result.share:.2%})"
