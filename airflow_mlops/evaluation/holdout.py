"""How often the same data were used to decide about candidates.

Data that judge one candidate after another wear out: of many candidates that are all just not good enough, one passes
in the end by luck. Every candidate that the gate judged on the same data is one use of them; judging the same
candidate again is none, and neither is a judgement that could not be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_mlops.evidence import Evidence
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict

__all__ = ["HoldoutRule", "holdout_uses"]


@dataclass(frozen=True, kw_only=True)
class HoldoutRule:
    """How many candidates one set of data may decide about, and what happens then.

    :param max_uses: so many candidates are judged as if each were the only one
    :param on_reuse: what happens with every further one: ``warn`` says so; ``tighten`` shares the chance of an error,
        what the confidence leaves, among all candidates so far, and widens the intervals to that; ``fail`` stops it
    """

    max_uses: int
    on_reuse: Literal["warn", "tighten", "fail"] = "warn"

    def __post_init__(self) -> None:
        """Refuse a rule that not even a first candidate could keep."""
        if self.max_uses < 1:
            raise SpecificationError("policy.holdout.max_uses", self.max_uses, "at least 1")


def holdout_uses(earlier: Iterable[Evidence], references: Mapping[str, Any]) -> int | None:
    """Count the candidates that were judged on the same data, this one included; None where the data have no name.

    Data that were evaluated together with others count as the same as soon as one dataset is the same.

    :param earlier: evidence about the same model from before this decision
    :param references: what this decision rests on, as evidence holds it: ``candidate`` and ``dataset``
    """
    data = _digests(references.get("dataset"))
    if not data:
        return None
    candidates = {
        _candidate(one.references)
        for one in earlier
        if one.decision == "gate"
        and one.verdict is not Verdict.ERROR
        and data & _digests(one.references.get("dataset"))
    }
    return len(candidates | {_candidate(references)})


def _candidate(references: Mapping[str, Any]) -> str:
    found = references.get("candidate")
    return str(found.get("digest")) if isinstance(found, Mapping) else ""


def _digests(dataset: Any) -> set[str]:
    many = [dataset] if isinstance(dataset, Mapping) else dataset if isinstance(dataset, (list, tuple)) else []
    return {str(one["digest"]) for one in many if isinstance(one, Mapping) and one.get("digest")}
