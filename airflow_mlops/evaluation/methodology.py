"""The checks of the package skore on how the candidate was made: over- and underfitting, baselines, golden features.

skore looks at a model of the same kind and settings that it fits itself, on a sample of the training rows, and at how
that does on a sample of the rows of the evaluation. What it finds are warnings: nothing here stops a candidate.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlops.evaluation.attribution import typed, wanted_package
from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["Finding", "MethodologyReport", "MethodologySpec", "check_methodology"]

_FEWEST = 100


@dataclass(frozen=True, kw_only=True)
class MethodologySpec:
    """How to check.

    :param rows: how many rows of the training, and of the evaluation, are drawn at most
    :param slow: whether the checks run that fit further models: baselines, golden and useless features
    :param ignore: codes of checks that are left out, such as ``SKD016``
    :param seed: for the rows that are drawn
    """

    rows: int = 5000
    slow: bool = True
    ignore: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse too few rows to fit anything on."""
        if self.rows < _FEWEST:
            raise SpecificationError("methodology.rows", self.rows, f"at least {_FEWEST}")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that a check found.

    :param code: the check's code
    :param title: its name
    :param kind: ``issue``, or ``tip`` for what is only worth a thought
    :param explanation: what it found, in skore's words
    """

    code: str
    title: str
    kind: Literal["issue", "tip"]
    explanation: str


@dataclass(frozen=True, kw_only=True)
class MethodologyReport:
    """What was found.

    :param skore: version of the package
    :param training_rows: how many rows the model was fitted on
    :param rows: how many rows it was examined on
    :param findings: warnings
    :param passed: checks that found nothing: code to name
    :param unchecked: checks that did not run: code to reason
    """

    skore: str
    training_rows: int
    rows: int
    findings: tuple[Finding, ...]
    passed: Mapping[str, str]
    unchecked: Mapping[str, str]


def check_methodology(wanted: MethodologySpec, subject: Subject) -> MethodologyReport:
    """Run the checks.

    :raises ContractError: if skore is not installed, or the training rows were not given or have no labels
    """
    from sklearn.base import clone

    skore = wanted_package("skore", "methodology", "leave out 'methodology'")
    if subject.training_rows is None:
        raise ContractError("methodology fits the model anew: give the task the training_data of the candidate")
    lacking = [
        name for name in (subject.target, *subject.candidate.features) if name not in subject.training_rows.columns
    ]
    if lacking:
        raise ContractError(f"methodology: the training data lack {', '.join(lacking)}")
    train, test = (_drawn(rows, wanted) for rows in (subject.training_rows, subject.rows))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it has to say, it says in its findings
        report = skore.EstimatorReport(
            clone(subject.candidate.estimator),
            X_train=typed(subject.candidate, train),
            y_train=train[subject.target],
            X_test=typed(subject.candidate, test),
            y_test=test[subject.target],
            pos_label=1 if hasattr(subject.candidate.estimator, "predict_proba") else None,
        )
        found = report.checks.summarize(ignore=list(wanted.ignore), fast_mode=not wanted.slow).frame()
    return _told(skore.__version__, len(train), len(test), found.to_dict(orient="records"))


def _drawn(rows: Any, wanted: MethodologySpec) -> Any:
    return rows.sample(n=min(wanted.rows, len(rows)), random_state=wanted.seed)


def _told(version: str, training_rows: int, rows: int, checks: list[dict[str, Any]]) -> MethodologyReport:
    def of(*kinds: str) -> list[dict[str, Any]]:
        return [one for one in checks if one["section"] in kinds]

    if not of("issue", "tip", "passed"):
        raise ContractError("methodology: none of skore's checks could be applied, so nothing was shown")
    reasons = {"skipped": "slow", "ignored": "ignored, as asked"}
    return MethodologyReport(
        skore=version,
        training_rows=training_rows,
        rows=rows,
        findings=tuple(
            Finding(
                code=one["code"], title=one["title"], kind=one["section"], explanation=str(one["explanation"]).strip()
            )
            for one in of("issue", "tip")
        ),
        passed={one["code"]: one["title"] for one in of("passed")},
        unchecked={
            one["code"]: f"{one['title']}: {reasons.get(one['section']) or one['explanation']}"
            for one in of("not_applicable", "skipped", "ignored")
        },
    )
