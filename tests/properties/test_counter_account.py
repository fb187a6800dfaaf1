"""Growth of counters, against simulated processes that start again, come, go and are sampled now and then."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.adapters.metrics.counter_account import CounterAccount, Samples

STALE = 20.0
ORIGIN = 1000.0


@dataclass
class Process:
    """Serves one target; a counter appears when it first counts."""

    name: str
    counters: dict[str, int] = field(default_factory=dict)
    stored: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    at_last_sample: dict[str, int] = field(default_factory=dict)

    def work(self, dice: random.Random) -> None:
        for _ in range(dice.randrange(4)):
            slow, failed = dice.random() < 0.2, dice.random() < 0.1
            roles = ["requests", "timed", *(["fast"] if not slow else []), *(["errors"] if failed else [])]
            for role in roles:
                self.counters[role] = self.counters.get(role, 0) + 1

    def sample(self, at: float) -> dict[str, int]:
        """Store a sample; return what the counters grew by since the one before, in truth."""
        grown = {role: value - self.at_last_sample.get(role, 0) for role, value in self.counters.items()}
        for role, value in self.counters.items():
            self.stored.setdefault(role, []).append((at, value))
        self.at_last_sample = dict(self.counters)
        return grown

    def start_again(self) -> None:
        self.counters, self.at_last_sample = {}, {}


@dataclass
class World:
    """Processes over 600 s, half of it before the origin; ``truth`` has what each sample showed for the first time."""

    processes: list[Process]
    truth: list[tuple[float, str, int]]

    def samples(self, since: float, until: float) -> list[Samples]:
        found = []
        for process in self.processes:
            for role, stored in process.stored.items():
                values = [one for one in stored if since <= one[0] <= until]
                if values:
                    key = (process.name, role)
                    found.append(Samples(key=key, process=process.name, target="m-v1", roles=(role,), values=values))
        return found

    def account(self) -> CounterAccount:
        account = CounterAccount(origin=ORIGIN, grace_seconds=STALE)
        account.begin(self.samples(0, ORIGIN))
        return account

    def shown(self, since: float, until: float, role: str) -> int:
        return sum(count for at, name, count in self.truth if name == role and max(since, ORIGIN) < at <= until)


def simulate(seed: int, *, restarts: float) -> World:
    """Let a process start again only while its counters are above what it can count until the next sample."""
    dice = random.Random(seed)
    processes = [Process(f"pod-{number}") for number in range(3)]
    births = {process.name: dice.choice([0, 350]) if number else 0 for number, process in enumerate(processes)}
    offsets = {process.name: dice.randrange(5) for process in processes}
    truth: list[tuple[float, str, int]] = []
    for second in range(600):
        for process in processes:
            if second < births[process.name]:
                continue
            process.work(dice)
            if second % 5 == offsets[process.name]:
                at = ORIGIN - 300 + second
                truth += [(at, role, count) for role, count in process.sample(at).items()]
                if dice.random() < restarts and process.counters.get("requests", 0) > 40:
                    process.start_again()
    return World(processes, truth)


looks = st.lists(st.integers(1, 290), min_size=1, max_size=8, unique=True).map(sorted)


@settings(max_examples=50)
@given(st.integers(0, 10_000), looks, st.sampled_from([0.0, 0.05, 0.3]), st.data())
def test_spans_between_looks_show_every_sample_once_whoever_looks(
    seed: int, moments: list[int], restarts: float, data: st.DataObject
) -> None:
    world = simulate(seed, restarts=restarts)
    account, read_until = world.account(), ORIGIN
    before = dict.fromkeys(("requests", "timed", "fast", "errors"), 0)
    last = ORIGIN
    for moment in moments:
        now = ORIGIN + moment
        if data.draw(st.booleans(), label="another process looks"):
            account, read_until = world.account(), ORIGIN
        account.add(world.samples(read_until - STALE, now))
        read_until = now
        for role, earlier in before.items():
            total = account.total("m-v1", role) or 0
            assert total >= earlier
            assert total - earlier == world.shown(last, now, role), (role, last, now)
            before[role] = total
        last = now


def samples(name: str, role: str, *values: tuple[float, float]) -> Samples:
    return Samples(key=(name, role), process=name, target="m-v1", roles=(role,), values=values)


def account_of(*found: Samples, known: tuple[Samples, ...] = ()) -> CounterAccount:
    account = CounterAccount(origin=ORIGIN, grace_seconds=STALE)
    account.begin(known)
    account.add(found)
    return account


def test_the_first_error_of_a_process_that_was_watched_counts() -> None:
    account = account_of(
        samples("a", "requests", (1001, 50), (1006, 60)),
        samples("a", "errors", (1006, 4)),
    )
    assert account.total("m-v1", "requests") == 10
    assert account.total("m-v1", "errors") == 4


def test_what_a_process_had_counted_when_the_watching_began_does_not() -> None:
    account = account_of(samples("a", "requests", (1001, 50)), samples("b", "requests", (1006, 9000), (1011, 9001)))
    assert account.total("m-v1", "requests") == 1


def test_a_process_that_comes_later_began_at_zero() -> None:
    account = account_of(
        samples("a", "requests", (1001, 50), (1031, 50)),
        samples("b", "requests", (1031, 7)),
    )
    assert account.total("m-v1", "requests") == 7


def test_a_series_that_was_away_for_long_goes_on_where_it_was() -> None:
    account = account_of(samples("a", "requests", (1300, 510)), known=(samples("a", "requests", (400, 500)),))
    assert account.total("m-v1", "requests") == 10


def test_a_restart_shows_in_the_counters_that_fell_and_holds_for_those_that_did_not() -> None:
    account = account_of(
        samples("a", "requests", (1001, 100), (1006, 10)),
        samples("a", "errors", (1001, 1), (1006, 3)),
        samples("a", "slow", (1001, 0), (1006, 2)),
    )
    assert account.total("m-v1", "requests") == 10
    assert account.total("m-v1", "errors") == 3
    assert account.total("m-v1", "slow") == 2


def test_one_of_several_series_of_a_kind_that_begins_again_is_no_restart() -> None:
    account = account_of(
        Samples(key="200", process="a", target="m-v1", roles=("requests",), values=[(1001, 100), (1006, 110)]),
        Samples(key="404", process="a", target="m-v1", roles=("requests",), values=[(1001, 30), (1006, 1)]),
    )
    assert account.total("m-v1", "requests") == 11


def test_what_nobody_counts_is_not_zero() -> None:
    assert account_of(samples("a", "requests", (1001, 1))).total("m-v1", "errors") is None
