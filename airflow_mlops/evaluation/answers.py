"""How a model's answers are spread: counts at the threshold, by probability, and along the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["BINS", "Answers", "Confusion", "describe_answers"]

#: Bins of equal width from 0 to 1 by which answers are counted.
BINS = 40

# So fine a count gives the curve to a pixel, without sorting the rows once more.
_CURVE_BINS = 2000
_CURVE_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Rows by label and prediction at the threshold.

    :param true_positives: rows with label 1, predicted 1
    :param false_positives: rows with label 0, predicted 1
    :param false_negatives: rows with label 1, predicted 0
    :param true_negatives: rows with label 0, predicted 0
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A model's answers, counted.

    :param threshold: probability from which a row counts as predicted positive
    :param confusion: counts at the threshold
    :param positives: rows with label 1 per bin of probability; bins of equal width from 0 to 1
    :param negatives: the same for rows with label 0
    :param roc: false and true positive rates from (0, 0) to (1, 1); empty if there is one label only
    """

    threshold: float
    confusion: Confusion
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    roc: tuple[tuple[float, float], ...] = ()


def describe_answers(labels: Any, scores: Any, threshold: float) -> Answers:
    """Count answers.

    :param labels: numpy array of 0 and 1
    :param scores: numpy array of probabilities of 1
    :param threshold: probability from which a row counts as predicted positive
    """
    import numpy as np

    positive, predicted = labels == 1, scores >= threshold
    counts = [np.histogram(scores[chosen], bins=_CURVE_BINS, range=(0.0, 1.0))[0] for chosen in (positive, ~positive)]
    coarse = [tuple(one.reshape(BINS, -1).sum(axis=1).tolist()) for one in counts]
    return Answers(
        threshold=threshold,
        confusion=Confusion(
            true_positives=int((positive & predicted).sum()),
            false_positives=int((~positive & predicted).sum()),
            false_negatives=int((positive & ~predicted).sum()),
            true_negatives=int((~positive & ~predicted).sum()),
        ),
        positives=coarse[0],
        negatives=coarse[1],
        roc=_curve(*counts),
    )


def _curve(positives: Any, negatives: Any) -> tuple[tuple[float, float], ...]:
    """Rates from the highest threshold down, thinned to points at about even distances along the curve."""
    import numpy as np

    if not positives.sum() or not negatives.sum():
        return ()
    true, false = (np.concatenate([[0.0], one[::-1].cumsum() / one.sum()]) for one in (positives, negatives))
    along = true + false  # from 0 to 2, never falling
    kept = np.unique(np.searchsorted(along, np.linspace(0, 2, _CURVE_POINTS)).clip(0, len(along) - 1))
    kept = np.unique([0, *kept, len(along) - 1])
    return tuple((round(float(false[at]), 5), round(float(true[at]), 5)) for at in kept)
