"""What a rollout would do next, as data: it is checked, shown and tested before anything is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from airflow_mlops.verdict import Verdict

__all__ = ["Plan", "describe"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The outcome of one look.

    :param action: ``hold`` leaves the route alone, ``set_weights`` moves traffic, ``promote`` and ``roll_back`` move
        it for good, ``finish`` says that everything is done
    :param weights: target to percent, what the route has to say afterwards
    :param verdict: what the look concluded
    :param reason: one sentence for a person
    :param expected_generation: generation that the route has to have; None writes in any case
    """

    action: Literal["hold", "set_weights", "promote", "roll_back", "finish"]
    weights: Mapping[str, int]
    verdict: Verdict
    reason: str
    expected_generation: int | None = None

    @property
    def has_effects(self) -> bool:
        """Whether somebody has to act."""
        return self.action != "hold"


def describe(plan: Plan) -> str:
    """Return the plan as one line."""
    split = ", ".join(f"{name} {weight} %" for name, weight in plan.weights.items())
    verb = {
        "hold": "hold",
        "set_weights": "set weights",
        "promote": "promote",
        "roll_back": "roll back",
        "finish": "finish",
    }[plan.action]
    return f"{verb} [{split}] — {plan.verdict.value}: {plan.reason}"
