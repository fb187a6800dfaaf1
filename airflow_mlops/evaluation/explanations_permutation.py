"""Importance by what it costs to lose a column: its values are dealt out anew among the rows.

The loss is the squared error (Brier's, for probabilities), row by row, so that intervals are possible; the definition
is that of Breiman (2001), "Random forests", Machine Learning 45, in the form of Fisher, Rudin and Dominici (2019),
"All models are wrong, but many are useful", JMLR 20, and the same as
``sklearn.inspection.permutation_importance(scoring="neg_brier_score")``. A ranking has no error row by row: there it is
how far answers move.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.attribution import Attribution

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject

__all__ = ["attribute", "explain_rows"]

_REPEATS = 5
_CHUNK = 5000
_BACKGROUND = 100


def attribute(subject: Subject, model: Diagnosed, chosen: Any, *, seconds: float, seed: int) -> Attribution:
    """Return how much larger each row's squared error gets when a column's values come from other rows.

    :param chosen: positions of the rows
    :param seconds: no further rows are begun after that long
    :param seed: for the dealing out
    """
    import numpy as np

    random = np.random.default_rng(seed)
    columns = tuple(model.features)
    ranks = subject.task == "ranking"
    deadline = time.monotonic() + seconds
    parts = []
    for begin in range(0, len(chosen), _CHUNK):
        part = chosen[begin : begin + _CHUNK]
        rows, labels = subject.rows.iloc[part], subject.labels[part]
        before = (model.scores[part] - labels) ** 2
        effects = np.zeros((len(part), len(columns)))
        for at, name in enumerate(columns):
            for _ in range(_REPEATS):
                donors = subject.rows[name].iloc[random.choice(chosen, len(part))]
                lost = rows.assign(**{name: donors.to_numpy()})
                answers = model.predict(lost)
                moved = np.abs(answers - model.scores[part]) if ranks else (answers - labels) ** 2 - before
                effects[:, at] += moved / _REPEATS
        parts.append(effects)
        if time.monotonic() > deadline:
            break
    return Attribution(
        columns=columns,
        effects=np.concatenate(parts),
        method=f"permutation of each column, {_REPEATS} times",
        unit="mean movement of the answer when the column is lost"
        if ranks
        else "increase of the mean squared error when the column is lost",
        local_unit="answer minus its mean when the column's value comes from other rows",
    )


def explain_rows(subject: Subject, model: Diagnosed, rows: Any, *, seed: int) -> tuple[tuple[str, ...], Any]:
    """Return how each column moves single answers: the answer minus its mean over other rows' values there.

    The difference of predictions of Robnik-Šikonja and Kononenko (2008), "Explaining classifications for individual
    instances", IEEE Transactions on Knowledge and Data Engineering 20; columns are looked at one at a time.

    :param rows: positions of the rows
    :return: the columns, and an array of rows by columns
    """
    import numpy as np

    columns = tuple(model.features)
    donors = np.random.default_rng(seed).permutation(len(subject.rows))[:_BACKGROUND]
    effects = np.zeros((len(rows), len(columns)))
    for place, row in enumerate(rows):
        copies = subject.rows.iloc[np.full(len(donors), row)]
        for at, name in enumerate(columns):
            changed = copies.assign(**{name: subject.rows[name].iloc[donors].to_numpy()})
            effects[place, at] = model.scores[row] - model.predict(changed).mean()
    return columns, effects
