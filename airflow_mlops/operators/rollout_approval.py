"""Asking a person about a step of a rollout while its traffic is judged, and what the answer does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import origin
from airflow_mlops.links.base import report_url
from airflow_mlops.operators.questions import read_answer, show_form

if TYPE_CHECKING:
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.state import RolloutState
    from airflow_mlops.triggers.events import RolloutEvent

__all__ = ["carry_out_answer", "read_event", "show_question"]


def show_question(context: Context, state: RolloutState, assigned_users: Sequence[Any]) -> str:
    """Show the form in Airflow; return the id of the task instance that asks.

    :param assigned_users: who may answer; empty for everybody who may act on the DAG
    """
    from airflow_mlops.rollout.approval_form import approval_form, approval_subject

    body = approval_form(state, report_address=report_url(origin(context), "rollout"), now=SystemClock().now())
    show_form(context, subject=approval_subject(state), body=body, assigned_users=assigned_users)
    return str(context["ti"].id)


def read_event(event: Any, token: int | None, started_at: float) -> RolloutEvent:
    """Return what woke the task: its trigger, or Airflow itself because the form was answered.

    :param token: the lease's token, as the task remembered it
    :param started_at: when the rollout began, as the task remembered it
    :raises ContractError: when it was something else
    """
    from airflow_mlops.triggers.events import RolloutEvent, from_payload

    if token is not None and isinstance(event, Mapping) and "chosen_options" in event:
        return RolloutEvent(
            kind="answered", token=token, started_at=started_at, message="the form was answered", answer=dict(event)
        )
    found = from_payload(RolloutEvent, event)
    if token is not None and (found.token, found.started_at) != (token, started_at):
        # Airflow finds the task of an event by its trigger's number, which SQLite gives to the next trigger at once.
        message = "the event of another rollout's trigger woke this task; it goes on with what is stored"
        return RolloutEvent(kind="act", token=token, started_at=started_at, message=message)
    return found


def carry_out_answer(gateway: Gateway, route: str, found: RolloutEvent) -> str:
    """Approve or reject as the person answered; return it as one sentence.

    A step that was approved by somebody else meanwhile, or is over, needs no approval any more; a rejection holds in
    any case while the rollout is under way.

    :raises ContractError: when it is no answer
    :raises StaleWriteError: when the lease was lost
    """
    from airflow_mlops.rollout.by_hand import abort_by_hand, approve_by_hand

    if found.answer is None:
        raise ContractError("the trigger says that the form was answered, but not what")
    answer = read_answer(found.answer)
    words = f": {answer.comment}" if answer.comment else ""
    try:
        if answer.approved:
            # The history has one sentence per decision; what the person wrote belongs into it.
            by = f"{answer.who} ({answer.comment})" if answer.comment else answer.who
            approve_by_hand(gateway, route, by=by, token=found.token)
        else:
            reason = f"rejected by {answer.who}{words}"
            abort_by_hand(gateway, route, reason=reason, by=answer.who, token=found.token)
    except SpecificationError as error:
        return f"the answer of {answer.who} came too late: {error.accepted}"
    return f"{'approved' if answer.approved else 'rejected'} by {answer.who}{words}"
