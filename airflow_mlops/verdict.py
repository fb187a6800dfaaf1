"""The closed vocabulary of judgement, and how single judgements combine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["CheckResult", "Verdict", "combine"]


class Verdict(Enum):
    """What a check, or a set of checks, concluded; listed from best to worst.

    ``INCONCLUSIVE`` means that the evidence is too thin to decide, ``ERROR`` that the check itself could not be
    carried out. Neither ever promotes.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    WARN = "warn"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def severity(self) -> int:
        """Position in the order from best (0) to worst (4)."""
        return list(Verdict).index(self)

    @property
    def promotes(self) -> bool:
        """Whether work may go on."""
        return self in (Verdict.PASS, Verdict.WARN)


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One check with its evidence.

    :param name: stable identifier of the check, for example ``roc_auc.non_inferiority``
    :param verdict: the conclusion
    :param reason: one sentence for a person, with the numbers in it
    :param value: the estimate, None where there is none
    :param low: lower bound of the estimate's interval, None where there is none
    :param high: upper bound of the estimate's interval, None where there is none
    :param threshold: the bound that the policy sets, in the unit of ``value``
    :param sample_size: number of observations behind the estimate
    :param details: anything else that a report shows; JSON-safe
    """

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    sample_size: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def combine(results: Iterable[CheckResult]) -> Verdict:
    """Return the worst verdict; no checks at all are an ``ERROR``, because nothing was shown."""
    verdicts = [result.verdict for result in results]
    return max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.ERROR)
