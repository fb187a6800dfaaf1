"""How far probabilities are from the shares that came true, and how far they would be by chance alone.

Rows are put into bins of equal mass by their probability. The expected calibration error is the mean distance, over
rows, between a bin's mean probability and its share of positives. It is above 0 for every finite sample, so its size
says little by itself: it is compared with what it would be for a perfectly calibrated model, simulated in two ways.

- Rows independent, *consistency resampling*: labels are drawn anew with exactly the model's probabilities, which are
  held fixed together with their bins. Source: J. Bröcker and L. A. Smith, "Increasing the reliability of reliability
  diagrams", Weather and Forecasting 22 (2007), 651-661.
- Rows that come in groups: each group's residuals keep their place and change their sign together at random, the wild
  cluster bootstrap with the hypothesis imposed. Source: A. C. Cameron, J. B. Gelbach and D. L. Miller,
  "Bootstrap-based improvements for inference with clustered errors", Review of Economics and Statistics 90 (2008).
"""

from __future__ import annotations

from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["calibration_error", "consistency_errors", "equal_mass_bins", "grouped_errors", "p_value_of_error"]

# Neighbours in a large bin share their mean probability. That raises the variance by the little by which they differ,
# so the p-value errs to the safe side, and a million rows cost no more than a few thousand.
_CELLS = 200
# From so many groups on the sums are normal for every practical purpose, and drawing signs would take too long.
_MANY_GROUPS = 2000


def equal_mass_bins(scores: Any, bins: int) -> tuple[Any, int]:
    """Put rows into bins of about equal size by their probability; equal probabilities stay together.

    :param scores: array of probabilities
    :param bins: how many bins at most, at least 1
    :return: number of each row's bin from 0 in order of probability, and how many bins there are
    :raises SpecificationError: if there are no rows or no bins
    """
    import numpy as np

    values = np.asarray(scores, dtype="float64")
    if bins < 1:
        raise SpecificationError("bins", bins, "at least 1")
    if len(values) == 0:
        raise SpecificationError("scores", "no rows", "at least one row")
    last = (len(values) * np.arange(1, bins) + bins - 1) // bins - 1
    inner = np.unique(np.partition(values, last)[last]) if bins > 1 else values[:0]
    found, codes = np.unique(np.searchsorted(inner, values, side="left"), return_inverse=True)
    return codes, len(found)


def calibration_error(labels: Any, scores: Any, codes: Any) -> float:
    """Mean distance between probability and share of positives, over the rows of all bins.

    :param labels: array of 0 and 1
    :param scores: array of probabilities
    :param codes: number of each row's bin
    """
    import numpy as np

    residuals = np.asarray(labels, dtype="float64") - scores
    return float(np.abs(np.bincount(codes, weights=residuals)).sum() / len(residuals))


def consistency_errors(scores: Any, codes: Any, *, simulations: int, generator: Any) -> Any:
    """Errors of a perfectly calibrated model with these probabilities, for independent rows.

    :param scores: array of probabilities
    :param codes: number of each row's bin
    :param simulations: how many samples are drawn
    :param generator: numpy random generator
    :return: array of one error per simulation
    """
    import numpy as np

    values = np.asarray(scores, dtype="float64")
    distances = np.zeros(simulations)
    for code in range(int(codes.max()) + 1):
        inside = np.sort(values[codes == code])
        cells = np.array_split(inside, min(_CELLS, len(inside)))
        means = np.clip([cell.mean() for cell in cells], 0, 1)
        drawn = generator.binomial([len(cell) for cell in cells], means, size=(simulations, len(cells)))
        distances += np.abs(drawn.sum(axis=1) - inside.sum())
    return distances / len(values)


def grouped_errors(labels: Any, scores: Any, codes: Any, groups: Any, *, simulations: int, generator: Any) -> Any:
    """Errors of a perfectly calibrated model whose residuals depend on each other within groups as these do.

    :param labels: array of 0 and 1
    :param scores: array of probabilities
    :param codes: number of each row's bin
    :param groups: number of each row's group, from 0
    :param simulations: how many samples are drawn
    :param generator: numpy random generator
    :return: array of one error per simulation
    """
    import numpy as np

    residuals = np.asarray(labels, dtype="float64") - scores
    bins, count = int(codes.max()) + 1, int(groups.max()) + 1
    sums = np.bincount(groups * bins + codes, weights=residuals, minlength=count * bins).reshape(count, bins)
    if count > _MANY_GROUPS:
        drawn = generator.multivariate_normal(np.zeros(bins), sums.T @ sums, size=simulations, method="eigh")
    else:
        drawn = (2.0 * generator.integers(0, 2, size=(simulations, count)) - 1) @ sums
    return np.abs(drawn).sum(axis=1) / len(residuals)


def p_value_of_error(found: float, simulated: Any) -> float:
    """How likely an error this large or larger is among the simulated ones; never 0.

    :param found: the error that was measured
    :param simulated: array of errors under the hypothesis
    """
    return float((1 + (simulated >= found * (1 - 1e-9)).sum()) / (1 + len(simulated)))
