"""What a rollout needs of the world: a router, a place for its state, counters, and model servers.

All calls are blocking, absolute and idempotent. Trouble that may pass raises
:class:`~airflow_mlops.exceptions.TransientAdapterError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from airflow_mlops.rollout.observation import ArmCounters, RouteView
from airflow_mlops.rollout.routing import Match, Sticky
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus
from airflow_mlops.rollout.state import RolloutState

__all__ = [
    "AgedMetrics",
    "ArmCounters",
    "CoarseRouter",
    "Lease",
    "MatchRouter",
    "MirrorRouter",
    "RolloutStore",
    "RouteView",
    "Router",
    "ServerFleet",
    "StickyRouter",
    "TrafficMetrics",
]


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to move one route's traffic.

    :param token: grows with every change of hands; writes with an older one are refused
    :param holder: who holds it, for example ``dag/run/task/map index``
    :param expires_at: seconds since the epoch; only a recorded verdict moves it
    :param state: the rollout that this holder has under way, None for a fresh start
    :param previous: the state that the holder before left behind, None if there is none
    """

    token: int
    holder: str
    expires_at: float
    state: RolloutState | None = None
    previous: RolloutState | None = None


class Router(Protocol):
    """Splits a route's requests between targets."""

    def observe(self, route: str) -> RouteView:
        """Tell how the route is; a route that nobody wrote yet is empty, not an error."""
        ...

    def ensure_targets(self, route: str, targets: Mapping[str, int], *, fencing_token: int) -> RouteView:
        """Make targets known, name to TCP port, without giving them traffic; others stay.

        In a cluster both are a Service's.
        """
        ...

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights; the same weights again change nothing.

        :param expected_generation: the generation that the caller saw; None writes in any case, over foreign edits
            too, which is for rolling back only
        :raises StaleWriteError: when the token is older than the route's, or the generation is another
        """
        ...

    def verify(self, route: str) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether the proxy works with the weights that the route says."""
        ...

    def remove_target(self, route: str, name: str) -> RouteView:
        """Forget a target.

        :raises PermanentAdapterError: when it still has weight
        """
        ...


@runtime_checkable
class CoarseRouter(Router, Protocol):
    """A router that cannot make every percentage; it is asked before a rollout begins."""

    def check_weights(self, weights: Mapping[str, int]) -> None:
        """Refuse weights that it cannot make; it never rounds them.

        :raises SpecificationError: naming the nearest weights that it can make
        """
        ...


@runtime_checkable
class MirrorRouter(Router, Protocol):
    """A router that can also copy requests; it has ``mirror`` among its capabilities.

    A mirror lies beside the weights under which it was set: ``set_weights`` ends it, so that no rollback and no
    promotion leaves one behind.
    """

    capabilities: ClassVar[frozenset[str]]

    def set_mirror(
        self, route: str, target: str | None, percent: int, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Copy this share of the requests to a target that has no weight, or to none; once or again.

        The answers of the target reach nobody, and it can neither fail nor slow a request.

        :param target: who gets the copies; None ends them
        :param percent: 1 to 100; not looked at when ``target`` is None
        :param expected_generation: the generation that the caller saw; None writes in any case, over foreign edits
            too, which is for ending a mirror only
        :raises StaleWriteError: when the token is older than the route's, or the generation is another
        :raises PermanentAdapterError: when the target is not known, or has weight
        """
        ...


@runtime_checkable
class StickyRouter(Router, Protocol):
    """A router that can also keep a caller at one target; it has ``sticky`` among its capabilities."""

    capabilities: ClassVar[frozenset[str]]

    def set_sticky(
        self, route: str, sticky: Sticky | None, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Keep callers at one target by a key of theirs, or no longer; once or again.

        While the weights stay, a key stays. When the weights of two targets change, keys move only from the target
        that loses weight to the one that gains it.

        :raises StaleWriteError: when the token is older than the route's, or the generation is another
        """
        ...


@runtime_checkable
class MatchRouter(Router, Protocol):
    """A router that can also send requests with certain headers to one target; ``match`` is among its capabilities.

    A match lies beside the weights under which it was set: ``set_weights`` ends it, so that nobody is left at a target
    that a rollout has judged.
    """

    capabilities: ClassVar[frozenset[str]]

    def set_match(
        self, route: str, match: Match | None, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Send the requests that carry these headers to a target, with or without weight, or none; once or again.

        :param match: which requests, and to whom; None ends it
        :param expected_generation: the generation that the caller saw; None writes in any case, over foreign edits
            too, which is for ending a match only
        :raises StaleWriteError: when the token is older than the route's, or the generation is another
        :raises PermanentAdapterError: when the target is not known
        """
        ...


class RolloutStore(Protocol):
    """Keeps the state of the rollout beside the route, and who may change it."""

    def acquire(self, route: str, holder: str, *, lease_seconds: float) -> Lease:
        """Take the lease, or take it up again.

        :param lease_seconds: how long the lease lives after every verdict
        :raises LeaseHeldError: when somebody else holds it and it has not expired
        """
        ...

    def load(self, route: str) -> Lease | None:
        """Return what is stored, None if nothing is."""
        ...

    def save(self, route: str, state: RolloutState, *, token: int, renew: bool) -> None:
        """Store the state if the lease is still held.

        :param token: the lease's token
        :param renew: whether a verdict was reached; only then is the lease prolonged
        :raises StaleWriteError: when the lease passed to somebody else or was released, or the state stored is newer
        """
        ...

    def release(self, route: str, *, token: int) -> None:
        """Give the lease back; the state stays readable."""
        ...

    def routes(self) -> Sequence[str]:
        """Return the names of all routes that have or had a rollout, sorted."""
        ...


class TrafficMetrics(Protocol):
    """Counts what targets did."""

    def read(
        self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()
    ) -> Mapping[str, ArmCounters]:
        """Return the counters of the targets; one that the proxy does not know is missing from the result.

        :param slow_ms: the edge above which a request is slow; None counts none as slow
        :param tallies: what else is wanted: ``labels`` (labelled predictions, wrong ones), ``predictions_above_0.5``
            (predictions, those at or above 0.5), ``users`` (users, each once in every period of the source, and those
            with an error in it)
        :raises SpecificationError: when a tally is wanted that this source cannot count
        """
        ...


@runtime_checkable
class AgedMetrics(TrafficMetrics, Protocol):
    """Metrics that know at which age their labels are judged."""

    @property
    def label_age_seconds(self) -> float | None:
        """Seconds from a prediction to the last moment at which its label counts; None for no labels, or unknown."""
        ...


class ServerFleet(Protocol):
    """Runs model servers."""

    def ensure(self, spec: ServerSpec) -> None:
        """Ask for the server to run; the same spec again changes nothing."""
        ...

    def spec(self, name: str) -> ServerSpec | None:
        """Return what was asked for under this name, None when nothing was."""
        ...

    def status(self, name: str) -> ServerStatus | None:
        """Tell how the server is, None when nobody knows it."""
        ...

    def remove(self, name: str) -> None:
        """Ask for the server to stop."""
        ...

    def list(self) -> Iterable[str]:
        """Return the names of the servers that should run."""
        ...
