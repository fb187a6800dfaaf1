"""Logged requests sent to a candidate once more, before it gets any traffic, and judged against what was answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.paired import checks_of, judge_discordant, judge_pairs
from airflow_mlops.rollout.pairing import Answer, Pairing
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["LoggedRequest", "ReplaySpec", "judge_replay", "outcome", "replay"]

_JUDGED_EVERY = 20  # requests; looking more often costs time and finds nothing sooner that matters


@dataclass(frozen=True, kw_only=True)
class LoggedRequest:
    """A row that a model was asked for, with what it answered.

    :param answer: what it answered, and when
    :param features: what it was asked
    """

    answer: Answer
    features: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReplaySpec:
    """Which logged requests are sent again, and how fast.

    :param rows: how many, the last ones of those that fit
    :param since: only those from then on, seconds since the epoch
    :param until: only those before, seconds since the epoch
    :param requests_per_second: the candidate gets at most so many
    """

    rows: int = 2000
    since: float | None = None
    until: float | None = None
    requests_per_second: float = 50.0

    def __post_init__(self) -> None:
        """Refuse what can send nothing."""
        if not 1 <= self.rows <= 1_000_000:
            raise SpecificationError("ReplaySpec.rows", self.rows, "1 to 1000000")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise SpecificationError("ReplaySpec.until", self.until, f"a time after since ({self.since})")
        if self.requests_per_second <= 0:
            raise SpecificationError("ReplaySpec.requests_per_second", self.requests_per_second, "more than 0")


def replay(
    requests: Iterable[LoggedRequest],
    ask: Callable[[LoggedRequest], float | None],
    spec: ShadowSpec,
    *,
    labels: Mapping[str, int],
) -> PairCounts:
    """Ask the candidate what was asked before, one request after the other; end early where enough speaks against it.

    :param ask: returns the candidate's prediction, None where it gave none; it keeps the pace
    :param labels: id to 0 or 1, as far as they have come
    :return: what the pairs came to
    """
    pairing = Pairing(spec)
    for key, label in labels.items():
        pairing.add_label(key, label)
    for number, request in enumerate(requests, start=1):
        prediction = ask(request)
        if prediction is None:
            pairing.counts += PairCounts(candidate_failed=1)
        else:
            pairing.add("stable", request.answer)
            pairing.add("candidate", replace(request.answer, prediction=prediction))
        if number % _JUDGED_EVERY == 0:
            checks = judge_replay(pairing.counts, spec)
            if any(check.verdict is Verdict.FAIL for check in checks):
                break
    return pairing.counts


def judge_replay(counts: PairCounts, spec: ShadowSpec) -> tuple[CheckResult, ...]:
    """Judge a replay: failures by a sign test, because it is known of each request who answered it."""
    failed = judge_discordant(
        "errors.harm",
        against=counts.candidate_failed,
        in_favour=counts.stable_failed,
        discordant=counts.candidate_failed + counts.stable_failed,
        pairs=counts.pairs + counts.candidate_failed + counts.stable_failed,
        max_increase=spec.errors.max_increase,
        alpha=spec.alpha / checks_of(spec),
        confidence=spec.confidence,
        what="failed",
    )
    return (failed, *judge_pairs(counts, spec))


def outcome(checks: Sequence[CheckResult], pairs: int, spec: ShadowSpec) -> tuple[Verdict, str]:
    """Return the conclusion and its reason; no checks and too few pairs never pass."""
    for wanted in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        reasons = [check.reason for check in checks if check.verdict is wanted]
        if reasons:
            return wanted, "; ".join(reasons)
    if pairs < spec.min_pairs or not checks:
        return Verdict.INCONCLUSIVE, f"{pairs} pairs were seen, {spec.min_pairs} are needed"
    return Verdict.PASS, "; ".join(check.reason for check in checks)
