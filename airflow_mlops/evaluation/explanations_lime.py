"""Weights of a linear model around each row, by the package lime.

Ribeiro, Singh and Guestrin (2016), "Why should I trust you?", KDD. It draws rows around the one that it explains, so
that neighbouring answers decide; numbers that are missing count as the column's median, since it cannot do without.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.attribution import Attribution, wanted_package
from airflow_mlops.evaluation.coded_rows import CodedRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject

__all__ = ["attribute", "explain_rows"]

_SAMPLES = 1000


def attribute(subject: Subject, model: Diagnosed, chosen: Any, *, seconds: float, seed: int) -> Attribution:
    """Return the size of each column's weight in each row.

    :param chosen: positions of the rows
    :param seconds: no further rows are begun after that long
    :param seed: for the rows that are drawn
    :raises ContractError: if lime is not installed
    """
    import numpy as np

    explain = _explainer(subject, model, seed)
    deadline = time.monotonic() + seconds
    effects = []
    for row in chosen:
        effects.append(np.abs(explain(row)))
        if time.monotonic() > deadline:
            break
    return Attribution(
        columns=tuple(model.features),
        effects=np.stack(effects),
        method=f"LIME, {_SAMPLES:,} rows drawn around each, missing numbers taken as the column's median",
        unit="mean size of the weight on the answer",
        local_unit="weight on the answer",
    )


def explain_rows(subject: Subject, model: Diagnosed, rows: Any, *, seed: int) -> tuple[tuple[str, ...], Any]:
    """Return the weights around single rows.

    :param rows: positions of the rows
    :return: the columns, and an array of rows by columns
    """
    import numpy as np

    explain = _explainer(subject, model, seed)
    return tuple(model.features), np.stack([explain(row) for row in rows])


def _explainer(subject: Subject, model: Diagnosed, seed: int) -> Callable[[int], Any]:
    import numpy as np

    tabular = wanted_package(
        "lime.lime_tabular", "explanations: method 'lime'", "ask for the method 'permutation', which needs none"
    )
    coded = CodedRows.of(model, subject.rows)
    known = np.isfinite(coded.numbers)
    middle = [
        float(np.median(column[there])) if there.any() else 0.0
        for column, there in zip(coded.numbers.T, known.T, strict=True)
    ]
    filled = np.where(known, coded.numbers, middle)
    explainer = tabular.LimeTabularExplainer(
        filled,
        mode="regression",  # of the answers themselves
        feature_names=list(coded.columns),
        categorical_features=[at for at, name in enumerate(coded.columns) if name in coded.texts],
        random_state=seed,
    )

    def explain(row: int) -> Any:
        found = explainer.explain_instance(
            filled[row], coded.predict, num_features=len(coded.columns), num_samples=_SAMPLES
        )
        weights = np.zeros(len(coded.columns))
        for at, weight in found.local_exp[1]:
            weights[at] = weight
        return weights

    return explain
