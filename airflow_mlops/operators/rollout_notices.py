"""Telling people what a rollout decided."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.rollout.state import RolloutState

__all__ = ["Notices", "check_notices", "notify", "rollout_facts"]

log = logging.getLogger(__name__)

#: One callable that takes the task's context, such as a notifier of Airflow's, or several.
Notices = Callable[[Any], Any] | Sequence[Callable[[Any], Any]]


def rollout_facts(state: RolloutState, *, evidence_uri: str = "", report_address: str = "") -> dict[str, Any]:
    """Return what templates of a notifier find under the name ``rollout``.

    :param evidence_uri: where the decision is recorded
    :param report_address: where the rollout's page is on Airflow's web server
    """
    from airflow_mlops.rollout.state import awaits_approval, intended_weights

    weights, awaits = intended_weights(state), awaits_approval(state)
    split = ", ".join(f"{name} {weight} %" for name, weight in weights.items())
    said = {
        "promoted": f"{state.candidate} was promoted on route {state.model_name}",
        "rolled_back": f"{state.candidate} was rolled back on route {state.model_name} to {state.stable}",
        "progressing": f"{state.candidate} goes on at route {state.model_name} with {split}",
    }[state.phase]
    if awaits:
        said = f"{state.candidate} waits for approval on route {state.model_name}"
    return {
        "route": state.model_name,
        "candidate": state.candidate,
        "stable": state.stable,
        "phase": state.phase,
        "step": state.step_index + 1,
        "steps": len(state.spec.steps),
        "awaits_approval": awaits,
        "weights": weights,
        "verdict": state.history[-1].verdict.value if state.history else "error",
        "reason": state.reason,
        "sentence": f"{said}: {state.reason}",
        "evidence_uri": evidence_uri,
        "report_address": report_address,
    }


def notify(context: Context, notices: Notices, facts: Mapping[str, Any]) -> None:
    """Call notifiers with the task's context and the facts as ``rollout``; one that fails is logged, nothing more.

    :raises SpecificationError: when something is no callable
    """
    for one in _many(notices):
        try:
            # A notifier renders its templates into itself, once and for all; the next step needs them as they were.
            copy.copy(one)({**context, "rollout": dict(facts)})
        except Exception:
            log.exception("%r did not tell: %s", one, facts["sentence"])


def check_notices(name: str, notices: Any) -> None:
    """Refuse what cannot be called.

    :param name: the operator's argument
    :raises SpecificationError: when something is no callable
    """
    for one in _many(notices):
        if not callable(one):
            raise SpecificationError(name, one, "a notifier, or a list of them: each is called with the context")


def _many(notices: Any) -> list[Any]:
    if isinstance(notices, Sequence) and not isinstance(notices, str):
        return list(notices)
    return [notices]
