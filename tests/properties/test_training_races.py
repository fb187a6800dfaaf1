"""Training attempts under injected races: workers killed between calls, pods that vanish, events that come twice.

The world below is a model of the cluster and of the shared storage; what runs against it is the code that the operator
runs. A schedule of bytes decides what happens between any two calls.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.training.attempts import Action, Attempt, Output, decide, enter, settle
from airflow_mlops.training.phase import PodPhase


class Killed(BaseException):
    """The worker's process ended here."""


class Training:
    """One attempt's traces in storage and cluster."""

    def __init__(self, name):
        self.name = name
        self.prepared = self.claimed = self.running = self.sealed = self.corrupt = False
        self.runs = 0
        self.pod = PodPhase.ABSENT
        self.ending = False

    def seen(self):
        if self.pod.is_live:
            output = Output.OPEN
        elif self.sealed and not self.corrupt:
            output = Output.VERIFIED
        else:
            output = Output.UNUSABLE if self.claimed else Output.OPEN
        return Attempt(name=self.name, claimed=self.claimed, output=output, pod=self.pod, ending=self.ending)


class World:
    """Storage, cluster and fate."""

    def __init__(self, schedule):
        self.schedule = iter(schedule)
        self.trainings = {}
        self.depth = 0
        self.kills = 0

    def fate(self, sides):
        return next(self.schedule, 0) % sides

    def get(self, name):
        return self.trainings.setdefault(name, Training(name))

    # What the operator's code calls.

    def look(self):
        self.boundary()
        found = tuple(one.seen() for one in self.trainings.values())
        self.boundary()
        return found

    def submit(self, name, seen):
        self.boundary()
        self.get(name).prepared = True
        self.boundary()
        known = {one.name for one in seen if one.claimed}
        if {one.name for one in self.trainings.values() if one.claimed} - known:
            return False
        self.boundary()
        made = self.get(name).pod is PodPhase.ABSENT
        if made:
            self.get(name).pod = PodPhase.PENDING
            self.get(name).ending = False
        self.boundary()
        return made

    def pause(self, name):
        self.boundary()
        if self.fate(4) == 0:
            self.vanish(self.get(name))

    # What happens by itself.

    def boundary(self):
        """A moment between two calls: the cluster moves on, another worker steps in, this worker may die."""
        for _ in range(self.fate(4)):
            self.happen()
        what = self.fate(16)
        if what == 1 and self.kills < 6:
            self.kills += 1
            raise Killed
        if what == 2 and self.depth == 0 and self.trainings:
            self.depth += 1
            names = sorted(self.trainings)
            try:  # a second worker, for the same try or an older one, as when a slow worker is taken for dead
                enter(self, names[self.fate(len(names))])
            except (Killed, TransientAdapterError):
                pass
            finally:
                self.depth -= 1

    def happen(self):
        if not self.trainings:
            return
        names = sorted(self.trainings)
        one = self.trainings[names[self.fate(len(names))]]
        (self.start, self.end, self.seal, self.crash, self.forget, self.delete, self.vanish, self.rot)[self.fate(8)](
            one
        )

    def start(self, one):
        if one.pod is PodPhase.PENDING and one.prepared:
            refused = one.claimed or any(other.prepared and other.name > one.name for other in self.trainings.values())
            one.claimed = True
            if refused:
                one.pod = PodPhase.FAILED
                return
            assert not any(other.running for other in self.trainings.values()), "two trainings at once"
            one.running = True
            one.runs += 1
            one.pod = PodPhase.RUNNING

    def seal(self, one):
        if one.running:
            one.sealed = True

    def end(self, one):
        if one.running:
            one.sealed, one.running, one.pod = True, False, PodPhase.SUCCEEDED

    def forget(self, one):  # the script ends well without having said job.finish()
        if one.running:
            one.running, one.pod = False, PodPhase.SUCCEEDED

    def crash(self, one):
        if one.pod.is_live:
            one.running, one.pod = False, PodPhase.FAILED

    def delete(self, one):
        if one.pod.is_live:
            one.ending = True
        else:
            one.pod = PodPhase.ABSENT

    def vanish(self, one):
        if one.ending or not one.pod.is_live:
            one.running, one.ending, one.pod = False, False, PodPhase.ABSENT

    def rot(self, one):
        if one.sealed and self.fate(4) == 0:
            one.corrupt = True


def one_try(world, name):
    """What a task does with one try; True on success."""
    decision = enter(world, name)
    if decision.action is Action.FAIL:
        return False
    for _ in range(20):  # each round is an event: in time, early, or once more
        action = settle(next(one for one in world.look() if one.name == decision.attempt))
        if action is Action.FINISH:
            training = world.get(decision.attempt)
            assert training.sealed
            assert not training.running
            return True
        if action is Action.FAIL:
            return False
        world.happen()
    return False


def play(schedule):
    world = World(schedule)
    number, outcome = 1, False
    for _ in range(12):
        name = f"{number:02d}-a"
        try:
            outcome = one_try(world, name)
        except Killed:
            number += world.fate(2)  # a new try, or the same one again
            continue
        except TransientAdapterError:
            outcome = False
        if outcome:
            break
        number += 1
    return world, outcome


@pytest.mark.timeout(600)
def test_ten_thousand_races_give_no_success_without_a_result_and_no_second_training():
    outcomes = [check(random.Random(seed).randbytes(160)) for seed in range(10_000)]
    assert 1_000 < sum(outcomes) < 9_900, "the races are either no danger or the end of everything"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=160))
def test_the_smallest_race_that_breaks_something_is_shown(schedule):
    check(schedule)


def check(schedule):
    world, succeeded = play(schedule)
    assert all(training.runs <= 1 for training in world.trainings.values())
    if succeeded:
        assert any(training.sealed for training in world.trainings.values())
    return succeeded


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_once_there_is_a_result_nothing_is_trained_again(schedule):
    world, succeeded = play(schedule)
    good = [one for one in world.trainings.values() if one.seen().output is Output.VERIFIED]
    if not (succeeded and good) or any(one.pod.is_live for one in world.trainings.values()):
        return
    decision = decide(Attempt(name="99-z"), [one.seen() for one in world.trainings.values()])
    assert decision.action is Action.FINISH
    assert decision.attempt in {one.name for one in good}


def test_in_a_quiet_world_the_first_try_succeeds():
    world = World(b"")
    decision = enter(world, "1-a")
    assert (decision.action, decision.attempt) == (Action.FOLLOW, "1-a")
    world.start(world.get("1-a"))
    world.end(world.get("1-a"))
    assert settle(world.get("1-a").seen()) is Action.FINISH
    assert enter(world, "2-a").action is Action.FINISH


def test_pods_that_vanish_at_once_do_not_keep_a_worker_busy_for_ever():
    class Hungry(World):
        def submit(self, name, seen):
            super().submit(name, seen)
            self.get(name).pod = PodPhase.ABSENT
            return False

    with pytest.raises(TransientAdapterError, match="attempt 1-a: 3 pods vanished before their script began"):
        enter(Hungry(b""), "1-a")
