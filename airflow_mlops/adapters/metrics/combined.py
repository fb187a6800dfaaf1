"""Several sources of counts as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from airflow_mlops.adapters.metrics.tallies import TallySource
from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.rollout.checks import LABELS
from airflow_mlops.rollout.observation import ArmCounters, Tally
from airflow_mlops.rollout.ports import TrafficMetrics

__all__ = ["CombinedMetrics"]


class CombinedMetrics:
    """Requests from one source, tallies from others; implements :class:`airflow_mlops.rollout.ports.TrafficMetrics`.

    A source that fails fails the whole look: nothing is known then, and what is not known is no pass.

    :param requests: counts requests
    :param tallies: count the rest; of several that count the same name the first is asked
    """

    def __init__(self, requests: TrafficMetrics, tallies: Sequence[TallySource]) -> None:
        self._requests = requests
        self._tallies = tuple(tallies)

    def read(
        self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()
    ) -> Mapping[str, ArmCounters]:
        """Return the counters of the targets that the source of requests knows, with the tallies that are wanted.

        :raises SpecificationError: when no source counts a tally
        :raises TransientAdapterError: when a source fails, or leaves out a target or a tally
        """
        asked: dict[int, list[str]] = {}
        for name in tallies:
            asked.setdefault(self._source(name), []).append(name)
        found = self._requests.read(targets, slow_ms=slow_ms)
        known = [target for target in targets if target in found]
        if not known:
            return found
        added: dict[str, dict[str, Tally]] = {target: {} for target in known}
        for position, names in asked.items():
            source = self._tallies[position]
            read = source.read(known, names)
            for target in known:
                counted = read.get(target, {})
                missing = [name for name in names if name not in counted]
                if missing:
                    raise TransientAdapterError(
                        f"{type(source).__name__} has not counted {', '.join(missing)} of {target}"
                    )
                added[target].update(counted)
        return {target: replace(found[target], tallies=added[target]) for target in known}

    @property
    def label_age_seconds(self) -> float | None:
        """The age at which labels are judged, None where none are counted, or their source does not say."""
        return next((getattr(one, "age_seconds", None) for one in self._tallies if one.counts(LABELS)), None)

    def _source(self, name: str) -> int:
        for position, source in enumerate(self._tallies):
            if source.counts(name):
                return position
        raise SpecificationError("tallies", name, "a name that one of the connection's sources of tallies counts")
