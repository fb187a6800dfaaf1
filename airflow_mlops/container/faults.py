"""Fire drills: what a model server breaks on purpose, so that a canary can be seen to notice."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.exceptions import SpecificationError

__all__ = ["Faults"]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What a fire drill does to good requests.

    :param error_rate: share of requests, 0 to 1, that fail
    :param delay_ms: milliseconds that every answer waits
    :param seed: of the choice which requests fail
    """

    error_rate: float = 0.0
    delay_ms: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse rates and delays that make no sense."""
        if not 0.0 <= self.error_rate <= 1.0:
            raise SpecificationError("fault-error-rate", self.error_rate, "a number from 0 to 1")
        if self.delay_ms < 0:
            raise SpecificationError("fault-delay-ms", self.delay_ms, "0 or more milliseconds")

    @property
    def active(self) -> bool:
        """Whether there is any."""
        return self.error_rate > 0 or self.delay_ms > 0
