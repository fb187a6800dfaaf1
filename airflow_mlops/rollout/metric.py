"""What is counted in a rollout, and what is tolerated in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.spec import RolloutSpec

__all__ = ["Metric", "metrics_of"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One thing that is counted, and what is tolerated in it.

    :param name: stable identifier
    :param noun: what happened to a request that counts as a failure, for sentences
    :param failures: the field of :class:`~airflow_mlops.rollout.observation.Counts` with the failures
    :param trials: the field with the requests that could fail
    :param max_increase: tolerated increase of the share of failures, absolute
    :param harm_ratio: harm is shown against this multiple of the stable model's share
    """

    name: str
    noun: str
    failures: Literal["errors", "slow"]
    trials: Literal["requests", "timed"]
    max_increase: float
    harm_ratio: float

    def of(self, counts: Counts) -> tuple[int, int]:
        """Return failures and trials."""
        return getattr(counts, self.failures), getattr(counts, self.trials)


def metrics_of(spec: RolloutSpec) -> tuple[Metric, ...]:
    """Return what a rollout under this spec is judged by."""
    errors = Metric(
        name="error_rate",
        noun="failed",
        failures="errors",
        trials="requests",
        max_increase=spec.error_rate.max_increase,
        harm_ratio=spec.error_rate.harm_ratio,
    )
    if spec.latency is None:
        return (errors,)
    slow = Metric(
        name="latency",
        noun=f"took longer than {spec.latency.slow_ms} ms",
        failures="slow",
        trials="timed",
        max_increase=spec.latency.max_increase,
        harm_ratio=spec.latency.harm_ratio,
    )
    return errors, slow
