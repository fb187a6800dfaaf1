"""What pairs of answers show: candidate and stable model were asked the same, in pairs that may be judged at any time.

Most pairs say nothing: both models answered, and alike. The others do. Of those in which one model alone failed, or
alone was right, an equal candidate is the worse one in half (sign test on discordant pairs); of all pairs, a share
differs by more than is tolerated. Both are judged by :mod:`airflow_mlops.stats.share_e_value`, which holds at every
look; ``alpha`` is split over the checks that can fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.stats.mean_sequence import mean_sequence
from airflow_mlops.stats.share_e_value import share_is_below, share_log_e_value, share_sequence
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["checks_of", "judge_discordant", "judge_pairs", "judge_share", "pairs_missing"]

_FARTHEST = 2.0**14


def checks_of(spec: ShadowSpec) -> int:
    """Return how many checks of pairs can fail, over which ``alpha`` is split; errors are one of them."""
    mean = spec.answers.max_mean_difference is not None
    return 2 + mean + (spec.latency is not None) + (spec.labels is not None)


def judge_pairs(counts: PairCounts, spec: ShadowSpec, *, ahead: bool = True) -> tuple[CheckResult, ...]:
    """Judge answers, latency and decisions; whether requests failed is judged by :func:`judge_discordant`.

    :param ahead: whether to say how many further pairs would decide, which takes most of the time
    """
    answers, alpha = spec.answers, spec.alpha / checks_of(spec)
    results = [
        judge_share(
            "answers.differing",
            counts.differing,
            counts.pairs,
            answers.max_share,
            alpha=alpha,
            confidence=spec.confidence,
            what=f"pairs differ by more than {answers.tolerance:g}",
            ahead=ahead,
        )
    ]
    if answers.max_mean_difference is not None:
        results.append(_judge_mean(counts, answers.max_mean_difference, alpha=alpha, confidence=spec.confidence))
    if spec.latency is not None:
        results.append(
            judge_share(
                "latency.slower",
                counts.slower,
                counts.pairs,
                spec.latency.max_share,
                alpha=alpha,
                confidence=spec.confidence,
                what=f"pairs took the candidate over {spec.latency.slower_ms:g} ms longer",
                ahead=ahead,
            )
        )
    if spec.labels is not None:
        results.append(
            judge_discordant(
                "labels.wrong",
                against=counts.candidate_wrong,
                in_favour=counts.stable_wrong,
                discordant=counts.apart,
                pairs=counts.pairs,
                max_increase=spec.labels.max_increase,
                alpha=alpha,
                confidence=spec.confidence,
                what="was wrong where they decided differently",
                ahead=ahead,
            )
        )
    return tuple(results)


def judge_share(
    name: str,
    hits: int,
    pairs: int,
    max_share: float,
    *,
    alpha: float,
    confidence: float,
    what: str,
    ahead: bool = True,
) -> CheckResult:
    """Judge whether a share of the pairs is tolerable.

    ``FAIL`` when more than tolerated is shown, ``PASS`` when that is excluded, else ``INCONCLUSIVE`` with the number
    of further pairs that would decide at the present share.

    :param alpha: chance that a tolerable share ever fails
    :param confidence: of the interval that has to lie below ``max_share`` to pass
    :param what: what the counted pairs did, for the sentence
    :param ahead: whether to say how many further pairs would decide
    """

    def decide(scale: float) -> Verdict:
        few, many = round(hits * scale), round(pairs * scale)
        if _beyond(few, many, max_share, alpha):
            return Verdict.FAIL
        below = share_is_below(few, many, max_share, confidence=confidence)
        return Verdict.PASS if below else Verdict.INCONCLUSIVE

    verdict, seen = decide(1.0), share_sequence(hits, pairs, confidence=confidence)
    missing = pairs_missing(decide, pairs) if ahead else None
    return CheckResult(
        name=name,
        verdict=verdict,
        reason=f"{hits} of {pairs} {what}: {_range(seen.low, seen.high)}, {max_share:.2%} is tolerated"
        + (_ahead(verdict, pairs, missing) if ahead else ""),
        value=hits / pairs if pairs else None,
        low=seen.low,
        high=seen.high,
        threshold=max_share,
        sample_size=pairs,
        details={"pairs_missing": missing},
    )


def judge_discordant(
    name: str,
    *,
    against: int,
    in_favour: int,
    discordant: int,
    pairs: int,
    max_increase: float,
    alpha: float,
    confidence: float,
    what: str,
    ahead: bool = True,
) -> CheckResult:
    """Judge pairs of which one model alone did badly.

    ``FAIL`` when the candidate is the worse one beyond chance (sign test), and by more than tolerated; ``PASS`` when
    an increase beyond the tolerated one is excluded; else ``INCONCLUSIVE``.

    :param against: discordant pairs in which the candidate did badly
    :param in_favour: discordant pairs in which the stable model did badly
    :param discordant: all discordant pairs, also those of which it is not known yet who did badly
    :param max_increase: tolerated share of all pairs by which the candidate may do badly more often
    :param alpha: chance that an equal candidate ever fails
    :param confidence: with which a larger increase is excluded
    :param what: what the model did in a pair that speaks against it, for the sentence
    :param ahead: whether to say how many further pairs would decide
    """
    each = 1 - (1 - confidence) / 2  # one half of the error for each of the two shares

    def bound(scale: float) -> float:
        apart = share_sequence(round(discordant * scale), round(pairs * scale), confidence=each).high
        worse = share_sequence(round(against * scale), round((against + in_favour) * scale), confidence=each).high
        return apart * (2 * worse - 1)

    def decide(scale: float) -> Verdict:
        known = round((against + in_favour) * scale)
        increase = (against - in_favour) / max(against + in_favour, 1) * discordant / max(pairs, 1)
        if increase > max_increase and _beyond(round(against * scale), known, 0.5, alpha):
            return Verdict.FAIL
        return Verdict.PASS if pairs and bound(scale) <= max_increase else Verdict.INCONCLUSIVE

    verdict, high = decide(1.0), bound(1.0)
    missing = pairs_missing(decide, pairs) if ahead else None
    e_value = share_log_e_value(against, against + in_favour)
    return CheckResult(
        name=name,
        verdict=verdict,
        reason=f"of {pairs} pairs {discordant} are discordant; the candidate alone {what} in {against}, the stable "
        f"model alone in {in_favour}; an increase above {max(high, 0.0):.2%} is excluded, {max_increase:.2%} is "
        f"tolerated" + (_ahead(verdict, pairs, missing) if ahead else ""),
        value=(against - in_favour) / pairs if pairs else None,
        high=high,
        threshold=max_increase,
        sample_size=pairs,
        details={
            "against": against,
            "in_favour": in_favour,
            "discordant": discordant,
            "e_value": math.exp(min(e_value, 690.0)),
            "e_value_needed": 1 / alpha,
            "pairs_missing": missing,
        },
    )


def pairs_missing(decide: Callable[[float], Verdict], pairs: int) -> int | None:
    """Return how many further pairs like those seen would decide; None if none would.

    :param decide: verdict for this many times what was seen
    """
    if decide(1.0) is not Verdict.INCONCLUSIVE:
        return 0
    times = 1.0
    while pairs and decide(times) is Verdict.INCONCLUSIVE:
        times *= 2.0
        if times > _FARTHEST:
            return None
    low, high = times / 2.0, times
    for _ in range(6):
        middle = (low + high) / 2.0
        low, high = (middle, high) if decide(middle) is Verdict.INCONCLUSIVE else (low, middle)
    return math.ceil(pairs * (high - 1.0)) if pairs else None


def _judge_mean(counts: PairCounts, most: float, *, alpha: float, confidence: float) -> CheckResult:
    size = counts.pairs
    if size < 2:
        reason = f"{size} pairs have no mean difference"
        return CheckResult(name="answers.mean", verdict=Verdict.INCONCLUSIVE, reason=reason, sample_size=size)
    moments = (size, counts.difference_sum, counts.difference_squares)
    shown = mean_sequence(*moments, confidence=confidence)
    strict = mean_sequence(*moments, confidence=1 - alpha)
    verdict = Verdict.INCONCLUSIVE
    if strict.low > most or strict.high < -most:
        verdict = Verdict.FAIL
    elif -most <= shown.low and shown.high <= most:
        verdict = Verdict.PASS
    return CheckResult(
        name="answers.mean",
        verdict=verdict,
        reason=f"over {size} pairs the candidate answers {shown.value:+.4f} higher on average, "
        f"{shown.low:+.4f} to {shown.high:+.4f}; up to {most:g} either way is tolerated",
        value=shown.value,
        low=shown.low,
        high=shown.high,
        threshold=most,
        sample_size=size,
    )


def _beyond(hits: int, trials: int, at_most: float, alpha: float) -> bool:
    return share_log_e_value(hits, trials, at_most) >= -math.log(alpha)


def _range(low: float, high: float) -> str:
    return f"between {low:.2%} and {high:.2%}"


def _ahead(verdict: Verdict, pairs: int, missing: int | None) -> str:
    if verdict is not Verdict.INCONCLUSIVE or pairs == 0:
        return ""
    return "; more pairs like these would not decide" if missing is None else f"; about {missing} more would decide"
