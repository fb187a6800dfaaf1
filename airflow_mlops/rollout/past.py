"""What past traffic was like, in the numbers that a simulation takes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.traffic import Traffic

__all__ = ["FEWEST_WINDOWS", "read_windows", "traffic_of"]

FEWEST_WINDOWS = 20
"""With fewer nobody can say how much the traffic varies."""

_MOST = 0.99


def read_windows(text: str) -> list[Counts]:
    """Return what happened in equally long spans of time that follow each other.

    :param text: CSV with a head; columns ``requests`` and ``errors``, and ``slow`` where it was counted
    :raises SpecificationError: when a column is missing, or a row holds no counts
    """
    rows = csv.DictReader(io.StringIO(text))
    columns = rows.fieldnames or ()
    if not {"requests", "errors"} <= set(columns):
        raise SpecificationError("past", ", ".join(columns), "columns requests and errors, and slow if you have it")
    windows = []
    for number, row in enumerate(rows, start=2):
        try:
            requests, errors, slow = (int(row.get(name) or 0) for name in ("requests", "errors", "slow"))
        except ValueError:
            raise SpecificationError(f"past, line {number}", dict(row), "whole numbers") from None
        if not 0 <= max(errors, slow) <= requests or min(errors, slow) < 0:
            raise SpecificationError(f"past, line {number}", dict(row), "counts of 0 or more, none above requests")
        windows.append(Counts(requests=requests, errors=errors, timed=requests, slow=slow))
    return windows


def traffic_of(windows: Sequence[Counts], *, seconds: float, look_seconds: float) -> Traffic:
    """Return traffic that varies as this did, by the method of moments.

    What chance alone makes of even traffic, and of failures that keep their rate, is taken off before a variation is
    called one. There is one autocorrelation for both; the larger is taken, which is the harder case for a judge.

    :param windows: what happened in spans of the same length, in order; best as long as a look
    :param seconds: their length
    :param look_seconds: time between two looks
    :raises SpecificationError: when there are too few, or nothing was asked
    """
    if seconds <= 0:
        raise SpecificationError("past-seconds", seconds, "more than 0 seconds")
    if len(windows) < FEWEST_WINDOWS:
        raise SpecificationError("past", len(windows), f"at least {FEWEST_WINDOWS} rows")
    requests = [window.requests for window in windows]
    mean = sum(requests) / len(requests)
    if mean == 0:
        raise SpecificationError("past", 0, "rows with requests in them")
    bursts = _Wave([count - mean for count in requests], [mean] * len(requests), [mean] * len(requests))
    error_rate = sum(window.errors for window in windows) / sum(requests)
    slow_share = sum(window.slow for window in windows) / sum(requests)
    errors = _failures(requests, [window.errors for window in windows], error_rate)
    slow = _failures(requests, [window.slow for window in windows], slow_share)
    kept = max(bursts.autocorrelation, errors.autocorrelation, slow.autocorrelation)
    return Traffic(
        requests_per_second=mean / seconds,
        error_rate=error_rate,
        slow_share=slow_share,
        burstiness=min(10.0, bursts.size),
        error_variation=min(10.0, max(errors.size, slow.size)),
        autocorrelation=min(_MOST, kept ** (look_seconds / seconds)) if kept else 0.0,
    )


def _failures(requests: Sequence[int], failures: Sequence[int], rate: float) -> _Wave:
    expected = [count * rate for count in requests]
    return _Wave(
        [seen - due for seen, due in zip(failures, expected, strict=True)],
        expected,
        [due * (1 - rate) for due in expected],
    )


class _Wave:
    """How a rate varies around its mean beyond chance.

    :param residuals: seen less expected, span by span
    :param expected: what the mean says
    :param noise: variance by chance
    """

    def __init__(self, residuals: Sequence[float], expected: Sequence[float], noise: Sequence[float]) -> None:
        squares = sum(due * due for due in expected)
        excess = sum(rest * rest - chance for rest, chance in zip(residuals, noise, strict=True))
        # Excess within two standard errors of chance is none.
        least = 2.0 * math.sqrt(2.0 * sum(chance * chance for chance in noise))
        self.size = math.sqrt(excess / squares) if squares and excess > least else 0.0
        self.autocorrelation = 0.0
        if self.size:
            pairs = zip(residuals[:-1], residuals[1:], expected[:-1], expected[1:], strict=True)
            together, weights = 0.0, 0.0
            for one, after, due, due_after in pairs:
                together += one * after
                weights += due * due_after
            self.autocorrelation = min(_MOST, max(0.0, together / (weights * self.size**2))) if weights else 0.0
