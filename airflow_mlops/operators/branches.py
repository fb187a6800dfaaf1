"""Where a task that decides goes on: to the tasks for what passed, or to those for what did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["read_branches"]


def read_branches(
    dag: Any, on_fail: str, pass_task_ids: str | Sequence[str], fail_task_ids: str | Sequence[str]
) -> dict[bool, list[str]] | None:
    """Return where to go when it passed (True) and when it did not; None where ``on_fail`` is not ``branch``.

    :param dag: the DAG, which must have these tasks or task groups
    :raises SpecificationError: if ids are missing, unknown, in both lists, or given though nothing branches
    """
    given = {"pass_task_ids": _ids(pass_task_ids), "fail_task_ids": _ids(fail_task_ids)}
    if on_fail != "branch":
        for field, ids in given.items():
            if ids:
                raise SpecificationError(field, ids, f"nothing with on_fail={on_fail!r}; only 'branch' follows it")
        return None
    known = set() if dag is None else {*dag.task_ids, *dag.task_group_dict}
    for field, ids in given.items():
        if not ids or not set(ids) <= known:
            raise SpecificationError(field, ids, "ids of tasks or task groups of this DAG")
    if set(given["pass_task_ids"]) & set(given["fail_task_ids"]):
        raise SpecificationError("fail_task_ids", given["fail_task_ids"], "other tasks than pass_task_ids")
    return {True: given["pass_task_ids"], False: given["fail_task_ids"]}


def _ids(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)
