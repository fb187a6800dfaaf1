"""What counts something else than requests, of the same targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from airflow_mlops.rollout.observation import Tally

__all__ = ["TallySource"]


class TallySource(Protocol):
    """Counts of targets what the source of their requests does not know.

    Tallies are cumulative. One that fell shows nothing of the span in which it fell.
    """

    def counts(self, name: str) -> bool:
        """Whether it counts a tally of this name."""
        ...

    def read(self, targets: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, Tally]]:
        """Return target to name to tally; what belongs to them may be beside those that are asked for.

        :param names: only such that it counts
        :raises AdapterError: when one of the targets cannot be counted
        :raises ContractError: when what it reads is not what it should be
        """
        ...
