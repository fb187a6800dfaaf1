"""Changing a route by hand between two rollouts, under the lease that rollouts take too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.state import is_under_way

__all__ = ["between_rollouts"]

_LEASE_SECONDS = 30.0


@contextmanager
def between_rollouts(gateway: Gateway, route: str, holder: str) -> Iterator[int]:
    """Hold the route's lease while the block changes the route; the value is the lease's token.

    :param holder: who changes what
    :raises LeaseHeldError: when a rollout is under way
    :raises TransientAdapterError: when one was left half-way, until the watchdog has ended it
    """
    lease = gateway.store.acquire(route, holder, lease_seconds=_LEASE_SECONDS)
    if is_under_way(lease.previous) or is_under_way(lease.state):
        # Not given back: a released lease would keep the watchdog from ending that rollout.
        raise TransientAdapterError(f"route {route!r}: a rollout was left half-way; the watchdog ends it first")
    try:
        yield lease.token
    finally:
        gateway.store.release(route, token=lease.token)
