"""The rules by which a candidate is judged that answers the same requests as the stable model, and serves none."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_mlops.exceptions import SpecificationError

__all__ = ["AnswerCheck", "DecisionCheck", "FailureCheck", "ShadowSpec", "SlownessCheck"]


@dataclass(frozen=True, kw_only=True)
class AnswerCheck:
    """How far the candidate's predictions may lie from the stable model's.

    :param tolerance: difference of two predictions up to which they count as alike
    :param max_share: tolerated share of pairs that differ by more
    :param max_mean_difference: how far apart the predictions may lie on average, either way; None does not judge it
    """

    tolerance: float = 0.05
    max_share: float = 0.05
    max_mean_difference: float | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that make no sense."""
        if not 0 <= self.tolerance < 1:
            raise SpecificationError("AnswerCheck.tolerance", self.tolerance, "0 or more and below 1")
        _share("AnswerCheck.max_share", self.max_share)
        if self.max_mean_difference is not None:
            _share("AnswerCheck.max_mean_difference", self.max_mean_difference)


@dataclass(frozen=True, kw_only=True)
class FailureCheck:
    """How much more often the candidate may fail.

    :param max_increase: tolerated increase of the share of requests that fail
    """

    max_increase: float = 0.02

    def __post_init__(self) -> None:
        """Refuse bounds that make no sense."""
        _share("FailureCheck.max_increase", self.max_increase)


@dataclass(frozen=True, kw_only=True)
class SlownessCheck:
    """How often the candidate may take longer.

    :param slower_ms: milliseconds by which it may take longer than the stable model did for the same request
    :param max_share: tolerated share of pairs in which it took longer than that
    """

    slower_ms: float
    max_share: float = 0.05

    def __post_init__(self) -> None:
        """Refuse bounds that make no sense."""
        if self.slower_ms < 0:
            raise SpecificationError("SlownessCheck.slower_ms", self.slower_ms, "0 or more milliseconds")
        _share("SlownessCheck.max_share", self.max_share)


@dataclass(frozen=True, kw_only=True)
class DecisionCheck:
    """How much more often the candidate may be wrong where labels have arrived.

    :param threshold: a prediction from here on means 1
    :param max_increase: tolerated increase of the share of requests that are decided wrongly
    """

    threshold: float = 0.5
    max_increase: float = 0.01

    def __post_init__(self) -> None:
        """Refuse bounds that make no sense."""
        _share("DecisionCheck.threshold", self.threshold)
        _share("DecisionCheck.max_increase", self.max_increase)


@dataclass(frozen=True, kw_only=True)
class ShadowSpec:
    """The rules of one shadow.

    :param answers: how far predictions may differ
    :param errors: how much more often requests may fail
    :param latency: how often the candidate may be slower; None does not judge it, nor can a replay
    :param labels: how much more often it may be wrong; None does not judge it
    :param percent: share of the requests that is copied to the candidate
    :param min_pairs: pairs without which nothing passes
    :param min_seconds: time without which nothing passes; a replay does not wait for it
    :param timeout_seconds: after which what is not decided stays undecided
    :param look_seconds: time between two looks
    :param max_unknown_seconds: longest time without anything new about the candidate
    :param pair_seconds: two answers that were logged further apart belong to no pair
    :param alpha: chance that a candidate within the bounds is ever failed, over all checks and looks
    :param confidence: with which every check that passes excludes more than it tolerates
    """

    answers: AnswerCheck = field(default_factory=AnswerCheck)
    errors: FailureCheck = field(default_factory=FailureCheck)
    latency: SlownessCheck | None = None
    labels: DecisionCheck | None = None
    percent: int = 100
    min_pairs: int = 500
    min_seconds: float = 60.0
    timeout_seconds: float = 3600.0
    look_seconds: float = 5.0
    max_unknown_seconds: float = 120.0
    pair_seconds: float = 60.0
    alpha: float = 0.05
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse rules that make no sense."""
        if not 1 <= self.percent <= 100:
            raise SpecificationError("ShadowSpec.percent", self.percent, "1 to 100 percent of the requests")
        if self.min_pairs < 1:
            raise SpecificationError("ShadowSpec.min_pairs", self.min_pairs, "1 or more: no data never passes")
        if self.min_seconds < 0:
            raise SpecificationError("ShadowSpec.min_seconds", self.min_seconds, "0 or more seconds")
        for name in ("look_seconds", "max_unknown_seconds", "pair_seconds"):
            if getattr(self, name) <= 0:
                raise SpecificationError(f"ShadowSpec.{name}", getattr(self, name), "more than 0 seconds")
        if self.timeout_seconds <= self.min_seconds:
            raise SpecificationError("ShadowSpec.timeout_seconds", self.timeout_seconds, "more than min_seconds")
        _share("ShadowSpec.alpha", self.alpha)
        _share("ShadowSpec.confidence", self.confidence)


def _share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise SpecificationError(name, value, "a number between 0 and 1, both excluded")
