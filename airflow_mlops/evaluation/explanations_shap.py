"""Shapley values by the package shap: exact for trees and linear models, by sampling for any other model.

A pipeline's last step is explained in the space that it sees, and the effects of what a column became are added up.
Which outputs of the earlier steps a column became is found by trying: a row is given each of the column's values in
turn, and what changes is its own.

Lundberg and Lee (2017), "A unified approach to interpreting model predictions", NeurIPS 30; trees: Lundberg et al.
(2020), "From local explanations to global understanding", Nature Machine Intelligence 2.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.attribution import Attribution, typed, typed_column, wanted_package
from airflow_mlops.evaluation.coded_rows import CodedRows

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject

__all__ = ["attribute", "explain_rows"]

_CHUNK = 500
_SAMPLED_CHUNK = 20
_BACKGROUND = 100
_SAMPLED_BACKGROUND = 20
_MOST_VALUES = 1000

Explain = Callable[[Any], Any]
"""From positions of rows to an array of rows by columns."""


def attribute(subject: Subject, model: Diagnosed, chosen: Any, *, seconds: float, seed: int) -> Attribution:
    """Return the size of each column's Shapley value in each row.

    :param chosen: positions of the rows
    :param seconds: no further rows are begun after that long
    :param seed: for the rows that others are compared with
    :raises ContractError: if shap is not installed
    """
    import numpy as np

    explain, name, unit, chunk = _explainer(subject, model, seed)
    deadline = time.monotonic() + seconds
    parts = []
    for begin in range(0, len(chosen), chunk):
        parts.append(np.abs(explain(chosen[begin : begin + chunk])))
        if time.monotonic() > deadline:
            break
    return Attribution(
        columns=tuple(model.features),
        effects=np.concatenate(parts),
        method=f"SHAP, {name}",
        unit=f"mean size of the effect on the {unit}",
        local_unit=f"effect on the {unit}",
    )


def explain_rows(subject: Subject, model: Diagnosed, rows: Any, *, seed: int) -> tuple[tuple[str, ...], Any]:
    """Return the Shapley values of single rows.

    :param rows: positions of the rows
    :return: the columns, and an array of rows by columns
    """
    return tuple(model.features), _explainer(subject, model, seed)[0](rows)


def _explainer(subject: Subject, model: Diagnosed, seed: int) -> tuple[Explain, str, str, int]:
    """Return what explains rows, its name, what it explains, and how many rows it should be given at a time."""
    import numpy as np

    shap = wanted_package("shap", "explanations: method 'shap'", "ask for the method 'permutation', which needs none")
    background = np.random.default_rng(seed).permutation(len(subject.rows))[:_BACKGROUND]
    seen, last = _steps(model)
    owners = None if last is None else _owners(subject, model, seen)
    if last is not None and owners is not None:
        inner = seen(typed(model, subject.rows.iloc[background]))
        direct = _direct(shap, last, inner)
        if direct is not None and np.allclose(direct[0](inner)[:, owners.sum(axis=1) == 0], 0.0, atol=1e-9):
            values, name, unit = direct

            def explain(rows: Any) -> Any:
                return values(seen(typed(model, subject.rows.iloc[rows]))) @ owners

            return explain, name, unit, _CHUNK
    coded = CodedRows.of(model, subject.rows)
    sampled = shap.explainers.Permutation(
        coded.predict, shap.maskers.Independent(coded.numbers[background[:_SAMPLED_BACKGROUND]]), seed=seed
    )
    evaluations = 2 * len(coded.columns) + 1

    def explain_by_sampling(rows: Any) -> Any:
        return sampled(coded.numbers[rows], max_evals=evaluations, silent=True).values

    return explain_by_sampling, "PermutationExplainer", "answer", _SAMPLED_CHUNK


def _steps(model: Diagnosed) -> tuple[Explain, Any]:
    """Return what the model does before its last step, as numbers, and that step; None where it cannot be told."""
    estimator = model.estimator
    steps = getattr(estimator, "steps", None)
    if steps is None:
        return _numbers, estimator
    before = estimator[:-1]
    return (lambda rows: _numbers(before.transform(rows))), steps[-1][1]


def _numbers(found: Any) -> Any:
    """Return a frame or matrix as a dense array of numbers."""
    import numpy as np

    return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype="float64")


def _owners(subject: Subject, model: Diagnosed, seen: Explain) -> Any | None:
    """Return which output of the earlier steps belongs to which column: outputs by columns, 1 where it does.

    :return: None if an output depends on several columns, or the outputs are no numbers
    """
    import numpy as np

    base = typed(model, subject.rows.iloc[[0, len(subject.rows) // 2]])
    owners = []
    for name in base.columns:
        values = _values(subject, model, name)
        varied = np.zeros(0, dtype=bool)
        for row in range(len(base)):
            probe = base.iloc[np.full(len(values), row)].assign(**{name: values})
            try:
                outputs = seen(probe)
            except (TypeError, ValueError):
                return None
            first = outputs[:1]
            moved = ((outputs != first) & ~(np.isnan(outputs) & np.isnan(first))).any(axis=0)
            varied = moved | varied if len(varied) else moved
        owners.append(varied)
    found = np.stack(owners, axis=1).astype("float64")
    return found if (found.sum(axis=1) <= 1).all() else None


def _values(subject: Subject, model: Diagnosed, name: str) -> Any:
    """Return the values that a column has, in the evaluation or the training; some of them where there are many."""
    import numpy as np

    given = [subject.rows]
    if subject.training_rows is not None and name in subject.training_rows.columns:
        given.append(subject.training_rows)
    known = [typed_column(model, one, name).drop_duplicates().to_numpy()[:_MOST_VALUES] for one in given]
    return np.concatenate(known)


def _direct(shap: Any, last: Any, background: Any) -> tuple[Explain, str, str] | None:
    """Return what explains a step of its own kind: a function of its inputs, its name and what it explains."""
    import numpy as np

    classifies = hasattr(last, "classes_")
    positive = list(last.classes_).index(1) if classifies else 0
    for name, given in (("TreeExplainer", (last,)), ("LinearExplainer", (last, background))):
        explainer = _made(getattr(shap, name), *given)
        if explainer is None:
            continue
        expected = np.ravel(explainer.expected_value)

        def values(inner: Any, explainer: Any = explainer) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about NumPy's future, not about the result
                found = np.asarray(explainer.shap_values(inner))
            return found[..., positive] if found.ndim == 3 else found

        margin = classifies and _is_margin(last, background, values, expected)
        return values, name, "log-odds" if margin else "answer"
    return None


def _made(kind: Any, *given: Any) -> Any:
    """Make an explainer; None if the model is none of its kind."""
    try:
        explainer = kind(*given)
    except Exception:  # noqa: BLE001 - shap says this in a dozen ways
        return None
    return explainer


def _is_margin(last: Any, background: Any, values: Explain, expected: Any) -> bool:
    """Whether effects add up to something else than the probability: boosted trees are explained in log-odds."""
    import numpy as np

    one = background[:1]
    total = float(expected[-1] + values(one).sum())
    return not np.isclose(total, last.predict_proba(one)[0, list(last.classes_).index(1)], atol=1e-3)
