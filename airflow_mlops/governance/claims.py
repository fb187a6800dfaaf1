"""Being the only one that changes a model's aliases, where the registry can only keep values.

Every process writes a claim of its own under a key that nobody else writes, and reads all claims in one answer. It is
alone when it sees its own claim and no other: of two that were alone at once, the one that read last had written
before and been written before it, so it would have seen the other. Where two want to be alone, the one with the higher
key steps back, so that one of them gets on. This is the one-bit algorithm: J. E. Burns, "Mutual exclusion with linear
waiting using binary shared variables", SIGACT News 10 (1978); L. Lamport, "The mutual exclusion problem: part II",
Journal of the ACM 33 (1986), section 3.

A process may die with its claim standing. Whoever waits for it takes a claim that has stood for the length of the
lease, as seen and timed by itself, for dead. No two machines' clocks are compared. A claim is never changed, only
replaced by one with another key: to remove a dead one can therefore never remove one that is alive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Contender", "Seen"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the claims mean for one contender.

    :param alone: it is the only one, and may go ahead
    :param gives_way: somebody with a smaller key wants the same; its own claim has to go until then
    :param dead: keys of claims whose owners have gone; they may be removed
    :param ahead: key of a claim that it waits for, None if there is none
    """

    alone: bool
    gives_way: bool
    dead: tuple[str, ...]
    ahead: str | None


@dataclass(kw_only=True)
class Contender:
    """One process that wants to be alone.

    :param lease_seconds: how long a claim may stand
    """

    lease_seconds: float
    _since: dict[str, float] = field(default_factory=dict)

    def look(self, claims: Iterable[str], own: str, now: float) -> Seen:
        """Judge all claims, read in one answer.

        :param claims: keys of all claims
        :param own: key of its own claim, or of the one that it would make
        :param now: seconds of a clock of its own that never goes back, taken after the claims were read
        """
        found = set(claims)
        self._since = {key: self._since.get(key, now) for key in found - {own}}
        dead = tuple(sorted(key for key, since in self._since.items() if now - since >= self.lease_seconds))
        alive = sorted(self._since.keys() - set(dead))
        return Seen(
            alone=not alive and own in found,
            gives_way=bool(alive) and alive[0] < own,
            dead=dead,
            ahead=alive[0] if alive else None,
        )
