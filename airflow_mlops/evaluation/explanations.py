"""What the candidate goes by: importance of columns, whether it agrees with the champion, and the worst errors.

Every method gives a number per row and column, and importance is its mean over the rows; intervals come from drawing
whole days anew, since rows of one day are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlops.evaluation.error_examples import worst_rows
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.attribution import Attribution
    from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject

__all__ = ["Agreement", "Explained", "ExplanationsReport", "ExplanationsSpec", "Importance", "explain"]

Method = Literal["permutation", "shap", "lime"]

_MOST_LOCAL = 50


@dataclass(frozen=True, kw_only=True)
class ExplanationsSpec:
    """How to explain.

    :param method: ``permutation`` needs no package: a column counts by what its loss costs; ``shap`` takes the model's
        answers apart (trees, linear models, and by trial any other); ``lime`` fits a linear model around each row
    :param rows: how many rows to explain at most, drawn at random
    :param seconds: after that long no further rows are begun, for either model; the report says how many were done
    :param local: how many of the worst errors are explained one by one; a ranking has none
    :param top: how many columns count as the most important ones
    :param seed: for the rows that are drawn, and the draws of the intervals
    """

    method: Method = "permutation"
    rows: int = 1000
    seconds: float = 60.0
    local: int = 3
    top: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse budgets for which nothing could be done."""
        for name, least, most in (("rows", 10, 1_000_000), ("local", 0, _MOST_LOCAL), ("top", 1, 1000)):
            if not least <= getattr(self, name) <= most:
                accepted = f"a number from {least} to {most:,}"
                raise SpecificationError(f"explanations.{name}", getattr(self, name), accepted)
        if not self.seconds > 0:
            raise SpecificationError("explanations.seconds", self.seconds, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much a column counts.

    :param column: the column
    :param candidate: for the candidate
    :param champion: for the champion; None without one, or where it does not read the column
    """

    column: str
    candidate: Estimate
    champion: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether candidate and champion go by the same columns.

    :param rank_correlation: Spearman's, over the columns that both read
    :param top_overlap: share of the most important columns that is the same
    :param top: how many columns that is
    """

    rank_correlation: Estimate
    top_overlap: Estimate
    top: int


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One of the worst errors.

    :param label: the row's label
    :param score: the candidate's answer
    :param effects: column to how it moved the answer
    """

    label: float
    score: float
    effects: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ExplanationsReport:
    """What was found.

    :param method: how, in words
    :param unit: what the numbers are
    :param rows: how many rows were explained
    :param importances: columns, the candidate's most important first
    :param agreement: with the champion, None where it could not be told
    :param unagreed: why not
    :param errors: the worst errors
    :param local_unit: what their numbers are
    :param stopped: what the time was too short for, None if all was done
    """

    method: str
    unit: str
    rows: int
    importances: tuple[Importance, ...]
    agreement: Agreement | None = None
    unagreed: str | None = None
    errors: tuple[Explained, ...] = ()
    local_unit: str = ""
    stopped: str | None = None


def explain(wanted: ExplanationsSpec, subject: Subject) -> ExplanationsReport:
    """Explain the candidate, and compare it with the champion.

    :raises ContractError: if the method's package is not installed, or the method cannot explain these models
    """
    import numpy as np

    from airflow_mlops.evaluation.rank_agreement import agreement, importance

    random = np.random.default_rng(wanted.seed)
    chosen = np.sort(random.permutation(len(subject.rows))[: wanted.rows])
    found = _attribute(wanted, subject, subject.candidate, chosen)
    other = None if subject.champion is None else _attribute(wanted, subject, subject.champion, chosen[: found.rows])
    done = found.rows if other is None else min(found.rows, other.rows)
    days = subject.days[chosen[:done]]
    candidate = importance(found.first(done), days, subject.confidence)
    champion = {} if other is None else importance(other.first(done), days, subject.confidence)
    agreed: Agreement | None = None
    unagreed: str | None = "first release: no champion to compare with"
    if other is not None:
        agreed, unagreed = agreement(
            found.first(done), other.first(done), days, top=wanted.top, confidence=subject.confidence, seed=wanted.seed
        )
    order = sorted(candidate, key=lambda name: -candidate[name].value)
    return ExplanationsReport(
        method=found.method,
        unit=found.unit,
        rows=done,
        importances=tuple(
            Importance(column=name, candidate=candidate[name], champion=champion.get(name)) for name in order
        ),
        agreement=agreed,
        unagreed=unagreed,
        errors=_errors(wanted, subject),
        local_unit=found.local_unit,
        stopped=None
        if done == len(chosen)
        else f"{done:,} of {len(chosen):,} rows were explained within {wanted.seconds:g} seconds",
    )


def _attribute(wanted: ExplanationsSpec, subject: Subject, model: Diagnosed, chosen: Any) -> Attribution:
    attribute, _ = _how(wanted.method)
    return attribute(subject, model, chosen, seconds=wanted.seconds, seed=wanted.seed)


def _how(method: Method) -> tuple[Callable[..., Attribution], Callable[..., tuple[tuple[str, ...], Any]]]:
    """Return what explains many rows and what explains single ones."""
    from airflow_mlops.evaluation import explanations_lime, explanations_permutation, explanations_shap

    module = {"shap": explanations_shap, "lime": explanations_lime, "permutation": explanations_permutation}[method]
    return module.attribute, module.explain_rows


def _errors(wanted: ExplanationsSpec, subject: Subject) -> tuple[Explained, ...]:
    if not wanted.local or subject.task == "ranking":  # which has no wrong rows
        return ()
    _, explain_rows = _how(wanted.method)
    worst = worst_rows(subject, wanted.local)
    columns, effects = explain_rows(subject, subject.candidate, worst, seed=wanted.seed)
    return tuple(
        Explained(
            label=float(subject.labels[row]),
            score=float(subject.candidate.scores[row]),
            effects={name: round(float(effect), 6) for name, effect in zip(columns, effects[place], strict=True)},
        )
        for place, row in enumerate(worst)
    )
