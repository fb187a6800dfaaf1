"""The form in which Airflow asks a person about a waiting task, as a trigger sees it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

__all__ = ["close_form", "read_form"]

log = logging.getLogger(__name__)


async def read_form(ti_id: str) -> dict[str, Any] | None:
    """Return the answer as Airflow gives it to a task that it wakes by itself; None while there is none.

    :param ti_id: id of the task instance, which is another one after the task was cleared
    """
    from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail
    from asgiref.sync import sync_to_async

    try:
        found: Any = await sync_to_async(get_hitl_detail_content_detail)(ti_id=UUID(ti_id))
    except Exception:
        # Judging goes on: Airflow wakes the task itself, a command approves too, and the step ends in time.
        log.exception("The form of %s cannot be read", ti_id)
        return None
    user = None if found is None else found.responded_by_user
    if user is None or not found.response_received or not found.chosen_options:
        return None  # a form without a person's name was closed, not answered
    return {
        "chosen_options": list(found.chosen_options),
        "params_input": dict(found.params_input or {}),
        "responded_at": None if found.responded_at is None else found.responded_at.isoformat(timespec="seconds"),
        "responded_by_user": {"id": user.id, "name": user.name},
        "timedout": False,
    }


async def close_form(ti_id: str, chosen_options: Sequence[str], comment: str) -> None:
    """Answer a form that no longer asks anything, so that nobody is shown it.

    :param comment: what decided instead
    """
    from airflow.sdk.execution_time.hitl import update_hitl_detail_response
    from asgiref.sync import sync_to_async

    try:
        await sync_to_async(update_hitl_detail_response)(
            ti_id=UUID(ti_id), chosen_options=list(chosen_options), params_input={"comment": comment}
        )
    except Exception:
        log.exception("The form of %s stays open; an answer to it changes nothing", ti_id)
