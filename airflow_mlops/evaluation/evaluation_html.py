"""What an evaluation found as a page: pictures first, tables for who wants digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from airflow_mlops import plots
from airflow_mlops.evaluation.answers import BINS, Answers
from airflow_mlops.evaluation.calibration_page import view_calibration
from airflow_mlops.evaluation.explanations_page import view_explanations
from airflow_mlops.evaluation.fairness_page import view_fairness
from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.report import Estimate, EvaluationReport, SliceReport
from airflow_mlops.page import render_page
from airflow_mlops.plots import Curve, ForestRow, Picture, Tone

__all__ = ["render_evaluation"]

_WHOSE: tuple[tuple[str, Tone], ...] = (("candidate", "new"), ("champion", "soft"))

# Of the parts' many pictures one is open from the start.
_MAIN = "roc_auc"

_VIEWS: Mapping[str, Callable[[Any], Any]] = {
    "calibration": view_calibration,
    "fairness": view_fairness,
    "explanations": view_explanations,
}
"""Sections whose template shows more than the section itself: name to what makes its variable."""


def render_evaluation(
    report: EvaluationReport,
    *,
    model_name: str,
    evaluated_at: str,
    where: str | None = None,
    digest: str | None = None,
) -> str:
    """Render an evaluation for people.

    :param report: what was found
    :param model_name: the model
    :param evaluated_at: when, as text
    :param where: where the same is kept as JSON, None if nowhere
    :param digest: digest of that file
    """
    sections = _sections(report)
    # Files sort by name; here the order is that of the registry.
    names = sorted(report.candidate.metrics, key=lambda name: list(METRICS).index(name) if name in METRICS else -1)
    return render_page(
        "evaluation/templates/evaluation.html",
        model_name=model_name,
        report=report,
        confidence=f"{100 * report.confidence:g}",
        metrics=[_metric(report, name) for name in names],
        unmeasured=_unmeasured(report),
        confusions=[(name, _confusion(name, report.answers[name])) for name, _ in _WHOSE if name in report.answers],
        spread=_spread(report.answers),
        slices=[_slices(report, name) for name in names if report.slices],
        first_slices=_MAIN if _MAIN in names else next(iter(names), None),
        section_names=list(sections),
        plots=plots,
        evaluated_at=evaluated_at,
        where=where,
        digest=digest,
        **sections,
    )


def _sections(report: EvaluationReport) -> dict[str, Any]:
    """Return what diagnostics found, by section; each is the variable of its template."""
    if report.diagnostics is None:
        return {}
    found = {one.name: getattr(report.diagnostics, one.name) for one in fields(report.diagnostics)}
    return {name: _VIEWS.get(name, _itself)(section) for name, section in found.items() if section is not None}


def _itself(section: Any) -> Any:
    return section


def _metric(report: EvaluationReport, name: str) -> dict[str, Any]:
    estimates = {"candidate": report.candidate.metrics[name]}
    if report.champion is not None and name in report.champion.metrics:
        estimates["champion"] = report.champion.metrics[name]
    rows = [_row(who, estimates[who], tone) for who, tone in _WHOSE if who in estimates]
    difference = report.differences.get(name)
    return {
        "name": name,
        "better": _better(name),
        "picture": plots.forest(rows, title=f"{name} with {100 * report.confidence:g} % intervals"),
        "difference": None if difference is None else _difference(name, difference),
        "texts": {who: text(estimates[who]) if who in estimates else None for who, _ in _WHOSE},
        "difference_text": None if difference is None else text(difference, "+"),
        "method": estimates["candidate"].method,
    }


def _difference(name: str, found: Estimate) -> Picture:
    title = f"{name}: candidate minus champion on the same rows"
    return plots.forest([_row("difference", found, tone(name, found))], title=title, reference=0.0, signed=True)


def tone(metric: str, difference: Estimate) -> Tone:
    """Colour of a difference: judged only where the whole interval lies on one side of zero."""
    known = METRICS.get(metric)
    if known is None or difference.low <= 0 <= difference.high:
        return "new"
    return "pass" if (difference.low > 0) == known.greater_is_better else "fail"


def text(found: Estimate, sign: str = "") -> str:
    """Return an estimate with its interval."""
    return f"{found.value:{sign}.4f} ({found.low:{sign}.4f} to {found.high:{sign}.4f})"


def _row(label: str, found: Estimate, colour: Tone) -> ForestRow:
    return ForestRow(label=label, value=found.value, low=found.low, high=found.high, tone=colour)


def _better(name: str) -> str:
    known = METRICS.get(name)
    return "" if known is None else "greater is better" if known.greater_is_better else "less is better"


def _unmeasured(report: EvaluationReport) -> list[tuple[str, str]]:
    found = [(name, reason) for name, reason in report.candidate.unmeasured.items()]
    found += [(f"{name}, candidate minus champion", reason) for name, reason in report.undiffered.items()]
    return found


def _confusion(name: str, answers: Answers) -> Picture:
    counts = answers.confusion
    return plots.confusion(
        true_positives=counts.true_positives,
        false_positives=counts.false_positives,
        false_negatives=counts.false_negatives,
        true_negatives=counts.true_negatives,
        title=f"{name}: rows by label and by prediction at a probability of {answers.threshold:g}",
    )


def _spread(answers: Mapping[str, Answers]) -> list[tuple[str, Picture]]:
    """Return the ROC curves, and how often each probability was answered, by label."""
    curves = [
        Curve(name=name, points=answers[name].roc, tone=colour, dashed=colour == "soft")
        for name, colour in _WHOSE
        if name in answers and answers[name].roc
    ]
    found = []
    if curves:
        picture = plots.curves(
            curves, title="ROC curve", x_name="false positive rate", y_name="true positive rate", diagonal=True
        )
        found.append(("ROC curve", picture))
    return found + [(f"{name}: answers by label", _histogram(name, one)) for name, one in answers.items()]


def _histogram(name: str, answers: Answers) -> Picture:
    filled = [at for at in range(BINS) if answers.positives[at] or answers.negatives[at]]
    first, last = filled[0], filled[-1] + 1
    edges = [at / BINS for at in range(first, last + 1)]
    series: Iterable[tuple[str, Sequence[int], Tone]] = (
        ("label 1", answers.positives, "new"),
        ("label 0", answers.negatives, "soft"),
    )
    curves = [
        Curve(
            name=label,
            points=[(edge, count / sum(counts)) for edge, count in zip(edges, counts[first:last], strict=False)],
            tone=colour,
            dashed=colour == "soft",
        )
        for label, counts, colour in series
        if sum(counts)
    ]
    return plots.histogram(
        edges, curves, title=f"{name}: answers by label", x_name="probability", y_name="share of the label's rows"
    )


def _slices(report: EvaluationReport, metric: str) -> dict[str, Any]:
    """Draw one metric in every part of the data, and the difference to the champion there."""
    overall = report.candidate.metrics[metric]
    measured = [(part, part.candidate.metrics[metric]) for part in report.slices if metric in part.candidate.metrics]
    differences = [(part, part.differences[metric]) for part in report.slices if metric in part.differences]
    return {
        "name": metric,
        "better": _better(metric),
        "picture": _forest(
            [_row(_name(part), found, "new") for part, found in measured],
            title=f"{metric} by part; the line is the whole",
            reference=overall.value,
        ),
        "difference": _forest(
            [_row(_name(part), found, tone(metric, found)) for part, found in differences],
            title=f"{metric} by part: candidate minus champion",
            reference=0.0,
            signed=True,
        ),
        "table": [
            (_name(part), f"{part.candidate.rows:,}", f"{part.candidate.positives:,}", text(found))
            for part, found in measured
        ],
        "unmeasured": [
            (_name(part), part.candidate.unmeasured[metric])
            for part in report.slices
            if metric in part.candidate.unmeasured
        ],
    }


def _forest(rows: Sequence[ForestRow], **options: Any) -> Picture | None:
    return plots.forest(rows, **options) if rows else None


def _name(part: SliceReport) -> str:
    return part.name.replace("=", " = ", 1) if isinstance(part.column, str) else part.name
