"""Made-up traffic for simulated rollouts: how many requests come, fail and are slow between two looks.

What real traffic does to a judge is in three numbers. Requests come in bursts (``burstiness``), failures come and go
for both models alike (``error_variation``: a database that is slow hurts both), and what is high now is still high at
the next look (``autocorrelation``). Both waves are log-normal with a mean of one, their logarithms autoregressive of
first order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["Regression", "Traffic", "Waves", "draw_window"]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What comes in while a rollout is under way.

    :param requests_per_second: at both models together, on average
    :param error_rate: share of the stable model's requests that fail, on average
    :param slow_share: share of its requests that take longer than the spec's edge
    :param burstiness: standard deviation of the traffic from look to look, as a share of its mean; 0 is even traffic
    :param error_variation: the same for the rates of failed and slow requests, which rise and fall for both models
    :param autocorrelation: how much of a wave is left at the next look, 0 (none) to below 1
    """

    requests_per_second: float
    error_rate: float = 0.0
    slow_share: float = 0.0
    burstiness: float = 0.0
    error_variation: float = 0.0
    autocorrelation: float = 0.0

    def __post_init__(self) -> None:
        """Refuse traffic that cannot be."""
        accepted = {
            "requests_per_second": (self.requests_per_second > 0, "more than 0"),
            "error_rate": (0 <= self.error_rate <= 1, "a share from 0 to 1"),
            "slow_share": (0 <= self.slow_share <= 1, "a share from 0 to 1"),
            "burstiness": (0 <= self.burstiness <= 10, "0 to 10 times the mean"),
            "error_variation": (0 <= self.error_variation <= 10, "0 to 10 times the mean"),
            "autocorrelation": (0 <= self.autocorrelation < 1, "0 or more and below 1"),
        }
        for name, (holds, words) in accepted.items():
            if not (math.isfinite(getattr(self, name)) and holds):
                raise SpecificationError(f"Traffic.{name}", getattr(self, name), words)


@dataclass(frozen=True, kw_only=True)
class Regression:
    """How much worse a candidate is, told as a share of the stable model's rate and as an absolute increase.

    :param error_times: factor on the error rate
    :param error_more: added to the error rate
    :param slow_times: factor on the share of slow requests
    :param slow_more: added to the share of slow requests
    """

    error_times: float = 1.0
    error_more: float = 0.0
    slow_times: float = 1.0
    slow_more: float = 0.0

    def of(self, traffic: Traffic) -> tuple[float, float]:
        """Return the candidate's error rate and slow share.

        :raises SpecificationError: if they are no shares, or are no higher than the stable model's
        """
        error = traffic.error_rate * self.error_times + self.error_more
        slow = traffic.slow_share * self.slow_times + self.slow_more
        for name, share in (("error rate", error), ("share of slow requests", slow)):
            if not 0 <= share <= 1:
                raise SpecificationError(f"the candidate's {name}", share, "a share from 0 to 1")
        if self != Regression() and (error, slow) == (traffic.error_rate, traffic.slow_share):
            raise SpecificationError("regression", 0.0, "more than nothing: a share of a rate of 0 is no increase")
        return error, slow


class Waves:
    """Two waves per rollout, of traffic and of trouble, each with a mean of one."""

    def __init__(self, traffic: Traffic, runs: int, random: Any) -> None:
        self._random = random
        self._keep = traffic.autocorrelation
        self._sizes = [math.sqrt(math.log1p(part**2)) for part in (traffic.burstiness, traffic.error_variation)]
        self._heights = random.standard_normal((2, runs))

    def advance(self) -> tuple[Any, Any]:
        """Return the factors of traffic and of trouble until the next look, one per rollout."""
        import numpy as np

        fresh = self._random.standard_normal(self._heights.shape)
        self._heights = self._keep * self._heights + math.sqrt(1 - self._keep**2) * fresh
        more, worse = (
            np.exp(size * height - size * size / 2) for size, height in zip(self._sizes, self._heights, strict=True)
        )
        return more, worse


def draw_window(
    weight: Any, expected: Any, worse: Any, rates: Mapping[str, tuple[float, float]], random: Any
) -> dict[str, Any]:
    """Draw what both arms of many rollouts do between two looks.

    :param weight: the candidate's share of the requests, one per rollout
    :param expected: requests expected at both arms together, one per rollout
    :param worse: factor on all rates, one per rollout
    :param rates: arm (``canary``, ``baseline``) to its rates of failed and of slow requests
    :param random: a numpy generator
    :return: arm to rows with requests, errors, timed and slow
    """
    import numpy as np

    total = random.poisson(expected)
    canary = random.binomial(total, weight)
    window = {}
    for arm, requests in (("canary", canary), ("baseline", total - canary)):
        counted = [random.binomial(requests, np.minimum(1.0, rate * worse)) for rate in rates[arm]]
        window[arm] = np.stack([requests, counted[0], requests, counted[1]], axis=1)
    return window
