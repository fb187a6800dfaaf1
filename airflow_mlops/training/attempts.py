"""What to do when a task (re-)enters a training that may already be under way.

A worker may die between any two of its calls, an event may come twice, a pod may vanish at any time. So nothing is
remembered from one entry to the next: each looks at the world and decides anew. Four facts make that safe.

1. Every try of a task is one attempt with a directory and a pod name of its own, both derived from the try alone. The
   cluster refuses a second pod of that name.
2. Whoever starts the script first claims the attempt, once for all time, in the storage that keeps the results. A pod
   that finds its attempt claimed starts nothing. This holds even where a pod was deleted and made again.
3. An attempt counts as successful only if its files match their manifest while no pod may still write.
4. As long as the pod of an earlier attempt lives, it is followed and no other is started. Where two workers do not see
   each other, because one of them was taken for dead, directories and claims decide: whoever makes a directory looks
   for new claims before it makes the pod, and a pod that has claimed its attempt looks for newer directories before it
   starts the script. So at least one of them sees the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.training.phase import PodPhase

__all__ = ["Action", "Attempt", "AttemptWorld", "Decision", "Output", "decide", "enter", "settle"]

#: How often a pod is made for one attempt whose earlier pods vanished before the script began.
_MOST_SUBMISSIONS = 3


class Output(Enum):
    """What lies in an attempt's directory."""

    #: The job has not ended, or nothing shows that it ever began.
    OPEN = "open"
    #: It says that it succeeded, and every file is what its manifest says.
    VERIFIED = "verified"
    #: It ended and there is no result that counts.
    UNUSABLE = "unusable"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt as it is found.

    :param name: identifies the attempt within its job; names sort by time
    :param claimed: whether its script was ever started
    :param output: what its directory holds; ``OPEN`` for as long as its pod lives
    :param pod: where its pod stands
    :param ending: whether its pod is being deleted and still exists
    """

    name: str
    claimed: bool = False
    output: Output = Output.OPEN
    pod: PodPhase = PodPhase.ABSENT
    ending: bool = False


class Action(Enum):
    """What to do next."""

    SUBMIT = "submit"
    FOLLOW = "follow"
    WAIT = "wait"
    FINISH = "finish"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do next, and with which attempt.

    :param action: what to do
    :param attempt: the attempt's name
    :param reason: one sentence for the task's log
    """

    action: Action
    attempt: str
    reason: str


class AttemptWorld(Protocol):
    """What entering needs from the outside."""

    def look(self) -> Sequence[Attempt]:
        """Return all attempts of this job that have left a trace."""
        ...

    def submit(self, attempt: str, seen: Sequence[Attempt]) -> bool:
        """Prepare the attempt's directory, then make its pod.

        :param seen: what :meth:`look` returned; no pod is made if another attempt was claimed since
        :return: whether this call made the pod
        """
        ...

    def pause(self, attempt: str) -> None:
        """Let some time pass while the attempt's pod ends.

        :raises TransientAdapterError: if it takes longer than a pod may take
        """
        ...


def decide(current: Attempt, others: Sequence[Attempt]) -> Decision:
    """Choose what the current try does.

    :param current: the attempt that belongs to it
    :param others: all other attempts, in any order
    """
    newest_first = sorted((current, *others), key=lambda attempt: (attempt is current, attempt.name), reverse=True)
    for attempt in newest_first:
        if attempt.pod.is_live and not attempt.ending:
            return _decision(Action.FOLLOW, attempt, "its pod is under way")
    for attempt in newest_first:
        if attempt.pod.is_live:
            return _decision(Action.WAIT, attempt, "its pod is being deleted and may still write")
    for attempt in newest_first:
        if attempt.output is Output.VERIFIED:
            return _decision(Action.FINISH, attempt, "its result is there and verified")
    if current.claimed or current.pod is not PodPhase.ABSENT:
        return _decision(Action.FAIL, current, "it was started, has ended, and left no result that counts")
    return _decision(Action.SUBMIT, current, "nothing is under way")


def settle(attempt: Attempt) -> Action:
    """Say what a followed attempt came to: ``FINISH``, ``FAIL``, or ``WAIT`` while its pod may still write."""
    if attempt.pod.is_live:
        return Action.WAIT
    return Action.FINISH if attempt.output is Output.VERIFIED else Action.FAIL


def enter(world: AttemptWorld, name: str) -> Decision:
    """Bring the current try to the point where there is an attempt to follow, to finish, or to give up.

    :param name: the current try's attempt
    :return: a decision to ``FOLLOW``, ``FINISH`` or ``FAIL``
    :raises TransientAdapterError: if pods vanish faster than they can be made, or an old one does not end
    """
    submissions = 0
    while True:
        found = world.look()
        current = next((one for one in found if one.name == name), Attempt(name=name))
        decision = decide(current, [one for one in found if one.name != name])
        if decision.action is Action.WAIT:
            world.pause(decision.attempt)
        elif decision.action is not Action.SUBMIT:
            return decision
        elif submissions == _MOST_SUBMISSIONS:
            raise TransientAdapterError(f"attempt {name}: {submissions} pods vanished before their script began")
        else:
            submissions += 1
            if world.submit(name, found):
                return Decision(action=Action.FOLLOW, attempt=name, reason=f"attempt {name}: its pod was made now")


def _decision(action: Action, attempt: Attempt, reason: str) -> Decision:
    return Decision(action=action, attempt=attempt.name, reason=f"attempt {attempt.name}: {reason}")
