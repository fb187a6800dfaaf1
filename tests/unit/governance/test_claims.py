"""However the steps of several processes interleave, one at a time is alone."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from airflow_mlops.governance.claims import Contender

LEASE = 10.0


def test_alone_with_its_own_claim_only():
    contender = Contender(lease_seconds=LEASE)
    assert not contender.look([], "b", 0.0).alone  # its claim is not there yet, or somebody removed it
    assert contender.look(["b"], "b", 0.0).alone
    seen = contender.look(["b", "c"], "b", 1.0)
    assert (seen.alone, seen.gives_way, seen.ahead) == (False, False, "c")
    seen = contender.look(["a", "b", "c"], "b", 2.0)
    assert (seen.alone, seen.gives_way, seen.ahead) == (False, True, "a")


def test_a_claim_that_stands_for_a_lease_is_dead():
    contender = Contender(lease_seconds=LEASE)
    assert contender.look(["a", "b"], "b", 100.0).dead == ()
    assert contender.look(["a", "b"], "b", 109.9).dead == ()
    seen = contender.look(["a", "b"], "b", 110.0)
    assert (seen.alone, seen.dead) == (True, ("a",))


def test_a_claim_that_went_and_another_that_came_begin_anew():
    contender = Contender(lease_seconds=LEASE)
    contender.look(["a", "b"], "b", 0.0)
    contender.look(["b"], "b", 9.0)
    assert contender.look(["a", "b"], "b", 11.0).dead == ()


@dataclass
class Process:
    """Takes the steps of ``ModelLease``, one at a time, so that others may come between any two."""

    number: int
    contender: Contender = field(default_factory=lambda: Contender(lease_seconds=LEASE))
    state: str = "claim"
    claims: frozenset[str] = frozenset()
    written_at: float = 0.0
    made: int = 0
    dying: bool = False
    comes_back: bool = True

    @property
    def own(self) -> str:
        return f"{self.number}.{self.made}"

    def may_write(self, now: float) -> bool:
        return self.state == "alone" and now - self.written_at <= LEASE / 2

    def step(self, register: set[str], now: float) -> None:
        if self.dying:
            return
        if self.state == "claim":
            self.made += 1
            self.written_at = now
            register.add(self.own)
            register.discard(f"{self.number}.{self.made - 1}")
            self.state = "read"
        elif self.state == "read":
            self.claims = frozenset(register)
            self.state = "judge"
        elif self.state == "judge":
            self._judge(register, now)
        elif self.state == "alone":
            register.discard(self.own)
            self.state = "claim" if self.comes_back else "done"

    def _judge(self, register: set[str], now: float) -> None:
        seen = self.contender.look(self.claims, self.own, now)
        register.difference_update(seen.dead)
        if seen.alone and now - self.written_at < LEASE / 6:
            self.state = "alone"
        elif seen.gives_way:
            register.discard(self.own)
            self.state = "read"
        elif self.own not in self.claims or now - self.written_at > LEASE / 6:
            self.state = "claim"
        else:
            self.state = "read"


def test_two_are_never_alone_at_once():
    """In 20,000 steps of four processes, each of which now and then sleeps longer than a lease."""
    changes = 0
    for seed in range(20):
        chance, register, now = random.Random(seed), set(), 0.0
        processes = [Process(number) for number in range(4)]
        asleep_until = [0.0] * 4
        for _ in range(1000):
            now += chance.expovariate(5.0)
            number = chance.randrange(4)
            if now < asleep_until[number]:
                continue
            if chance.random() < 0.02:
                asleep_until[number] = now + chance.uniform(0, 2 * LEASE)
                continue
            processes[number].step(register, now)
            alone = [process.number for process in processes if process.may_write(now)]
            assert len(alone) <= 1, (seed, alone)
            changes += len(alone)
    assert changes > 1000


def test_everybody_gets_on_and_a_death_holds_the_others_up_for_one_lease():
    processes, register, now = [Process(number, comes_back=False) for number in range(4)], set(), 0.0
    processes[0].step(register, now)  # claims, and is never seen again
    processes[0].dying = True
    while any(process.state != "done" for process in processes[1:]):
        for process in processes[1:]:
            process.step(register, now)
        now += 0.1
        assert now < 2 * LEASE
    assert now > LEASE
    assert register == set()
