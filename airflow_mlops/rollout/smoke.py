"""The smoke check: whether a model server answers as the model did offline, before it meets any traffic.

Wrong answers fail. Errors now and then only warn, because how often a candidate fails under traffic is the canary's
question and twenty requests cannot answer it; more errors than answers fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["Reply", "judge_smoke"]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One request of the smoke check and what came back.

    :param rows: positions of the sample's rows that were asked for
    :param status: HTTP status
    :param ms: milliseconds until the answer
    :param probabilities: the answer, one per row; empty if there was none
    :param server: name that the server gives itself
    :param error: what it said where it did not answer
    """

    rows: tuple[int, ...]
    status: int
    ms: float
    probabilities: tuple[float, ...] = ()
    server: str | None = None
    error: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is an answer to compare."""
        return bool(self.probabilities)


def judge_smoke(
    replies: Sequence[Reply],
    expected: Sequence[float],
    *,
    server: str,
    tolerance: float,
    max_p95_ms: float | None = None,
) -> tuple[CheckResult, ...]:
    """Judge identity, predictions, errors and latency; every row must have been answered at least once.

    :param expected: the offline prediction of each row of the sample
    :param server: the name that the server should have
    :param tolerance: largest accepted difference of a probability
    :param max_p95_ms: bound on the 95th percentile of the latency; None reports it without judging
    """
    answered = [reply for reply in replies if reply.answered]
    return (
        _identity(answered, server),
        _predictions(answered, expected, tolerance),
        _answers(replies, answered),
        _latency(answered, max_p95_ms),
    )


def _identity(answered: Sequence[Reply], server: str) -> CheckResult:
    names = sorted({str(reply.server) for reply in answered})
    right = names == [server]
    reason = f"{', '.join(names) or 'nobody'} answered on the port of {server}"
    verdict = Verdict.PASS if right else Verdict.FAIL
    return CheckResult(name="smoke.identity", verdict=verdict, reason=reason, sample_size=len(answered))


def _predictions(answered: Sequence[Reply], expected: Sequence[float], tolerance: float) -> CheckResult:
    differences = {
        row: abs(probability - expected[row])
        for reply in answered
        for row, probability in zip(reply.rows, reply.probabilities, strict=True)
    }
    if not expected or len(differences) < len(expected):
        reason = f"{len(differences)} of {len(expected)} rows of the sample were answered; all are needed"
        return CheckResult(name="smoke.predictions", verdict=Verdict.FAIL, reason=reason, sample_size=len(differences))
    worst = max(differences, key=lambda row: differences[row])
    largest = differences[worst]
    reason = f"served and offline predictions of {len(expected)} rows differ by at most {largest:.3g} (row {worst})"
    return CheckResult(
        name="smoke.predictions",
        verdict=Verdict.PASS if largest <= tolerance else Verdict.FAIL,
        reason=f"{reason}; up to {tolerance:g} is accepted",
        value=largest,
        threshold=tolerance,
        sample_size=len(expected),
    )


def _answers(replies: Sequence[Reply], answered: Sequence[Reply]) -> CheckResult:
    failed = [reply for reply in replies if not reply.answered]
    share = len(failed) / len(replies) if replies else 1.0
    reason = f"{len(failed)} of {len(replies)} requests were not answered"
    verdict = Verdict.PASS
    if failed:
        reason += f", the last with status {failed[-1].status}: {failed[-1].error}"
        verdict = Verdict.WARN if len(answered) >= len(failed) else Verdict.FAIL
    return CheckResult(
        name="smoke.errors",
        verdict=verdict if replies else Verdict.ERROR,
        reason=reason,
        value=share,
        threshold=0.5,
        sample_size=len(replies),
    )


def _latency(answered: Sequence[Reply], max_p95_ms: float | None) -> CheckResult:
    times = sorted(reply.ms for reply in answered)
    if not times:
        verdict = Verdict.PASS if max_p95_ms is None else Verdict.ERROR
        return CheckResult(name="smoke.latency", verdict=verdict, reason="there was no answer to time", sample_size=0)
    p50, p95 = times[(len(times) - 1) // 2], times[-(-len(times) * 95 // 100) - 1]
    bound = "no bound was set" if max_p95_ms is None else f"up to {max_p95_ms:g} ms is accepted"
    return CheckResult(
        name="smoke.latency",
        verdict=Verdict.PASS if max_p95_ms is None or p95 <= max_p95_ms else Verdict.FAIL,
        reason=f"p50 {p50:.1f} ms, p95 {p95:.1f} ms over {len(times)} answers; {bound}",
        value=p95,
        threshold=max_p95_ms,
        sample_size=len(times),
        details={"p50_ms": round(p50, 3), "p95_ms": round(p95, 3), "max_ms": round(times[-1], 3)},
    )
