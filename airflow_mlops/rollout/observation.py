"""What is seen of a rollout at one look: the route as it is, and what each arm has counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.routing import Match, Mirror, Sticky

__all__ = ["ArmCounters", "Counts", "Observation", "RouteView", "Tally", "began_again", "since"]


@dataclass(frozen=True, kw_only=True)
class RouteView:
    """How one route is.

    :param route: name of the route, which is the model's name
    :param generation: grows by one with every change; 0 for a route that was never written
    :param weights: target to percent; they sum to 100, or the mapping is empty and requests get status 503
    :param targets: target to TCP port, also those without weight
    :param foreign_edits: what somebody else changed, one sentence each
    :param applied: whether what the proxy reads is what this route says
    :param mirror: where copies of the requests go, None when none are made
    :param sticky: what keeps a caller at one target, None when nothing does
    :param match: requests that go to one target whatever the weights are, None when there are none
    """

    route: str
    generation: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    foreign_edits: tuple[str, ...] = ()
    applied: bool = True
    mirror: Mirror | None = None
    sticky: Sticky | None = None
    match: Match | None = None


@dataclass(frozen=True)
class Tally:
    """Something else that is counted of a target, beside its requests.

    :param total: what could be a hit: labelled predictions, predictions, users
    :param hits: those of them that are: wrong ones, those at or above an edge, users with an error
    """

    total: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        """Refuse tallies that cannot be."""
        for name in ("total", "hits"):
            if getattr(self, name) < 0:
                raise SpecificationError(f"Tally.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True, kw_only=True)
class ArmCounters:
    """Cumulative counters of one target; they start again from zero when the proxy does.

    :param requests: finished requests, answered or not
    :param errors: those of them that ended with a status of 500 or more
    :param timed: requests whose duration was measured, timeouts included
    :param slow: those of them that took longer than the edge that was asked for
    :param at: when they were read, seconds since the epoch
    :param life: anything that is another after the counters began again, for example when their process started;
        empty if the source does not tell, then only a counter that fell shows it
    :param tallies: what else was asked for, by name, cumulative like the others; see
        :meth:`~airflow_mlops.rollout.spec.RolloutSpec.wanted_tallies`
    """

    requests: int
    errors: int
    timed: int = 0
    slow: int = 0
    at: float = 0.0
    life: str = ""
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse counters that contradict themselves."""
        for name in ("requests", "errors", "timed", "slow"):
            if getattr(self, name) < 0:
                raise SpecificationError(f"ArmCounters.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What one arm did in some span of time; the fields are those of :class:`ArmCounters`."""

    requests: int = 0
    errors: int = 0
    timed: int = 0
    slow: int = 0
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    def tally(self, name: str) -> Tally:
        """Return a tally by name; nothing was counted of one that is missing."""
        return self.tallies.get(name, Tally())

    def __add__(self, other: Counts) -> Counts:
        """Add the counts of two spans that do not overlap."""
        names = {**self.tallies, **other.tallies}
        return Counts(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            timed=self.timed + other.timed,
            slow=self.slow + other.slow,
            tallies={
                name: Tally(
                    self.tally(name).total + other.tally(name).total, self.tally(name).hits + other.tally(name).hits
                )
                for name in names
            },
        )


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look at the world.

    :param route: the route, None when it could not be read
    :param counters: counters of both arms, None when they could not be read
    :param problem: why something could not be read, one sentence; empty when all could
    """

    route: RouteView | None = None
    counters: Mapping[str, ArmCounters] | None = None
    problem: str = ""


_COUNTED = ("requests", "errors", "timed", "slow")


def began_again(before: ArmCounters, now: ArmCounters) -> bool:
    """Whether counters began again from zero between two readings: one fell, or their life is another."""
    other = bool(before.life and now.life and before.life != now.life)
    return other or any(getattr(now, name) < getattr(before, name) for name in _COUNTED)


def since(before: ArmCounters, now: ArmCounters) -> Counts:
    """Return what happened between two readings.

    Counters that began again show only what happened since then, all of it after the reading before. Tallies may come
    from another source than the requests: one that is missing at either end, or fell, shows nothing of this span.
    """
    reset = began_again(before, now)
    counted = {name: getattr(now, name) - (0 if reset else getattr(before, name)) for name in _COUNTED}
    tallies = {}
    for name, tally in now.tallies.items():
        earlier = before.tallies.get(name)
        if earlier is not None and tally.total >= earlier.total and tally.hits >= earlier.hits:
            tallies[name] = Tally(tally.total - earlier.total, tally.hits - earlier.hits)
    return Counts(**counted, tallies=tallies)
