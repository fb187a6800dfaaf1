"""A rollout driven without Airflow: what the operator and its trigger do, as one loop that may be killed anywhere."""

from __future__ import annotations

from collections.abc import Callable

from airflow_mlops.exceptions import MLOpsError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.ports import ServerFleet
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.start import start
from airflow_mlops.rollout.state import RolloutState

__all__ = ["drive"]


def drive(
    gateway: Gateway,
    fleet: ServerFleet,
    *,
    route: str,
    candidate: str,
    spec: RolloutSpec,
    holder: str,
    lease_seconds: float,
    pause: Callable[[float], None],
) -> RolloutState:
    """Begin a rollout or take it up, and drive it to its end.

    :param holder: the same for every process that stands in for one that died
    :param pause: waits that many seconds
    :raises TransientAdapterError: another process with the same holder may take the rollout up
    :raises MLOpsError: the rollout has ended, and the traffic was given back if it could be
    """
    lease = gateway.store.acquire(route, holder, lease_seconds=lease_seconds)
    try:
        state = start(gateway, fleet, lease, route=route, candidate=candidate, spec=spec, request=holder)
        while True:
            _apply(gateway, lease.token, state)
            if state.finished:
                gateway.store.release(route, token=lease.token)
                return state
            state = _wait(gateway, route, lease.token, spec, pause)
    except TransientAdapterError:
        raise
    except MLOpsError as error:
        gateway.give_back(route, token=lease.token, reason=f"the process failed: {error}")
        raise


def _apply(gateway: Gateway, token: int, state: RolloutState) -> None:
    try:
        gateway.apply(state, token=token)
    except StaleWriteError:
        if state.finished:
            raise
        gateway.held(state.model_name, token=token)


def _wait(gateway: Gateway, route: str, token: int, spec: RolloutSpec, pause: Callable[[float], None]) -> RolloutState:
    while True:
        pause(spec.look_seconds)
        try:
            state, plan = gateway.look(route, token=token)
        except TransientAdapterError:
            continue  # nothing was recorded, so the budget for the unknown runs on
        if plan.has_effects:
            return state
