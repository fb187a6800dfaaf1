"""What triggers tell the tasks that they wake: one dataclass per event, one codec for all.

The payload is the encoded dataclass with its name under ``event``, so that a task woken by something else notices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["RolloutEvent", "from_payload", "to_payload"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutEvent:
    """A rollout needs its task.

    :param kind: ``act`` when the stored state says more than the route, ``ask`` when a step waits for a person,
        ``answered`` when that person has answered the form, ``lost`` when the lease passed on, ``broken`` when judging
        itself failed
    :param token: the lease's token
    :param message: one sentence for the log, or the error
    :param started_at: when the rollout began, which tells it from others of the same route
    :param answer: what Airflow says of the answer
    """

    kind: Literal["act", "ask", "answered", "lost", "broken"]
    token: int
    message: str
    started_at: float = 0.0
    answer: Mapping[str, Any] | None = None


def to_payload(event: Any) -> dict[str, Any]:
    """Return the payload of a trigger event.

    :param event: a dataclass
    """
    return {"event": type(event).__name__, **encode(event)}


def from_payload(cls: type[T], payload: Any) -> T:
    """Return the event that a task was woken with.

    :param cls: the event that the task waits for
    :raises ContractError: when the payload is another event, or none
    """
    if not isinstance(payload, Mapping) or payload.get("event") != cls.__name__:
        raise ContractError(f"the trigger sent {payload!r}; expected a {cls.__name__}")
    try:
        return decode(cls, {key: value for key, value in payload.items() if key != "event"})
    except SpecificationError as error:
        raise ContractError(f"the trigger sent an unreadable {cls.__name__}: {error}") from error
