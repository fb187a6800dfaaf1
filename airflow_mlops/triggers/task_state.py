"""What the database says of a task that waits with a trigger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["STILL_AT_WORK", "task_state"]

log = logging.getLogger(__name__)

#: A task in one of these states was not ended by anybody.
STILL_AT_WORK = ("running", "deferred")


async def task_state(key: Mapping[str, Any]) -> str | None:
    """Return a task instance's state; None if nobody can tell.

    :param key: its dag_id, run_id, task_id and map_index
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from asgiref.sync import sync_to_async

    try:
        answer = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=key["dag_id"], task_ids=[key["task_id"]], run_ids=[key["run_id"]], map_index=key["map_index"]
        )
    except Exception:
        log.exception("The state of %s cannot be read", dict(key))
        return None
    states = dict(answer.get(key["run_id"]) or {})
    found = states.get(key["task_id"], states.get(f"{key['task_id']}_{key['map_index']}"))
    return None if found is None else str(found)
