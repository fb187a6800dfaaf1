"""Asking a person in Airflow: the task waits in the state ``awaiting_input`` and needs neither worker nor triggerer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import Context
from airflow.sdk.exceptions import TaskAwaitingInput

from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.approval import Answer

__all__ = ["ask", "check_users", "read_answer", "show_form"]

_LONGEST_COMMENT = 2000


def check_users(given: Any) -> list[Any]:
    """Return the people who may answer.

    :raises SpecificationError: if one has no id or no name
    """
    if isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        raise SpecificationError("assigned_users", given, "a list of mappings with id and name")
    for user in given:
        if not isinstance(user, Mapping) or not user.get("id") or set(user) != {"id", "name"}:
            raise SpecificationError("assigned_users", user, "a mapping with id and name")
    return [{"id": str(user["id"]), "name": str(user["name"])} for user in given]


def ask(
    context: Context,
    *,
    subject: str,
    body: str,
    assigned_users: Sequence[Any],
    timeout: timedelta,
    resume: str,
    fields: Mapping[str, Any] | None = None,
    **remembered: str,
) -> NoReturn:
    """Show a form in Airflow and park the task until somebody answers it or the time is up, which rejects.

    :param body: Markdown
    :param assigned_users: who may answer; empty for everybody who may act on the DAG
    :param resume: the operator's method that goes on, with ``event`` and what is remembered
    :param fields: what else the form asks for, name to Airflow's description of a parameter
    :param remembered: its further arguments; all else of this process is lost
    """
    from airflow_mlops.hooks.metrics import waits_for_person

    show_form(context, subject=subject, body=body, assigned_users=assigned_users, fields=fields)
    waits_for_person(context, waiting=True)
    raise TaskAwaitingInput(method_name=resume, kwargs=dict(remembered), timeout=timeout)


def show_form(
    context: Context,
    *,
    subject: str,
    body: str,
    assigned_users: Sequence[Any],
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Show a form in Airflow; while the task waits, also with a trigger, an answer wakes it.

    A second form of the same task instance asks anew, but Airflow keeps subject, body and fields of the first.

    :param body: Markdown
    :param assigned_users: who may answer; empty for everybody who may act on the DAG
    :param fields: what else the form asks for, name to Airflow's description of a parameter
    """
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    from airflow_mlops.evaluation.approval import APPROVE, REJECT

    upsert_hitl_detail(
        ti_id=context["ti"].id,
        options=[APPROVE, REJECT],
        subject=subject,
        body=body,
        defaults=[REJECT],
        params={
            "comment": {
                "value": "",
                "description": "Why; it becomes part of the evidence.",
                "schema": {"type": ["string", "null"], "maxLength": _LONGEST_COMMENT},
            },
            **(fields or {}),
        },
        assigned_users=list(assigned_users),
    )


def read_answer(event: Mapping[str, Any]) -> Answer:
    """Read what Airflow hands to the resumed task.

    :raises ContractError: if it is no answer, or an approval that nobody gave
    """
    from airflow_mlops.evaluation.approval import APPROVE, REJECT, Answer

    chosen = list(event.get("chosen_options") or ())
    if chosen not in ([APPROVE], [REJECT]):
        raise ContractError(f"approval: {event.get('error') or chosen!r} is no answer; the candidate does not go on")
    user = event.get("responded_by_user")
    if chosen == [APPROVE] and (not user or event.get("timedout")):
        raise ContractError("approval void: it names nobody who approved")
    at = event.get("responded_at")
    comment = (event.get("params_input") or {}).get("comment") or ""
    return Answer(
        approved=chosen == [APPROVE],
        by_id=str(user["id"]) if user else None,
        by_name=str(user["name"]) if user else None,
        at=at.isoformat(timespec="seconds") if isinstance(at, datetime) else str(at),
        comment=str(comment)[:_LONGEST_COMMENT],
    )
