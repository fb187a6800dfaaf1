"""Every write of a rollout over Istio, KServe or Argo goes wrong once: it ends as it should, and never runs ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from urllib3.exceptions import ReadTimeoutError

from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.rollout.state import intended_weights
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes
from tests.system.kubernetes.worlds import WORLDS, World

pytest.importorskip("kubernetes")


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Fault:
    """Raises at the n-th write, before or after it was made; counts them otherwise."""

    when: str
    nth: int
    kills: bool
    seen: int = 0
    armed: bool = True

    def __call__(self, when: str, method: str, path: str) -> None:
        if not self.armed or method == "GET" or when != self.when:
            return
        self.seen += 1
        if self.seen == self.nth:
            raise Killed if self.kills else ReadTimeoutError(None, path, "lost")  # type: ignore[arg-type]


def run(told: Any, fault: Fault, *, errors: int) -> tuple[World, str]:
    """Drive a rollout to its end, by one process after another; return how it ended.

    What the controller gave the candidate is never more than what was stored as intended.
    """
    server = MemoryKubernetes()
    world = World(server, **told)
    act, server.fault = world.act, fault

    def attended(objects: Any) -> None:
        fault.armed = False
        act(objects)
        lease = world.gateway.store.load("m")
        given = dict(world.router.observe("m").weights).get(world.candidate, 0)
        if lease is not None and (state := lease.state or lease.previous) and state.phase != "rolled_back":
            assert given <= intended_weights(state).get(world.candidate, 0)
        fault.armed = True

    world.act = attended
    for _ in range(4):
        try:
            lease, state = world.begin()
            state, _ = world.drive(lease, state, errors=errors)
            world.gateway.store.release("m", token=lease.token)
        except (TransientAdapterError, Killed):
            fault.armed = True
            attended(world.objects)
        else:
            return world, state.phase
    raise AssertionError("it never ends")


@pytest.mark.parametrize("kind", list(WORLDS))
@pytest.mark.parametrize(("errors", "phase"), [(0, "promoted"), (80, "rolled_back")])
def test_a_fault_at_any_write_changes_neither_the_end_nor_the_way(kind: str, errors: int, phase: str) -> None:
    told = WORLDS[kind]
    counted = Fault(when="before", nth=-1, kills=False)
    run(told, counted, errors=errors)
    assert counted.seen >= 8
    for nth in range(1, counted.seen):  # the last one gives the lease back, after all
        for when, kills in (("before", True), ("after", False)):  # never sent, and sent with its answer lost
            world, ended = run(told, Fault(when=when, nth=nth, kills=kills), errors=errors)
            view = world.router.observe("m")
            winner = world.candidate if phase == "promoted" else world.stable
            assert (ended, dict(view.weights), view.foreign_edits) == (phase, {winner: 100}, ()), (nth, when)
