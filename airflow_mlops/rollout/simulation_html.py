"""What a spec would do, as a page with one picture."""

from __future__ import annotations

from airflow_mlops.page import render_page
from airflow_mlops.plots import Curve, Tone, curves
from airflow_mlops.rollout.simulate import EQUAL, Scenario, Simulation

__all__ = ["describe_seconds", "render_simulation"]

_TONES: tuple[Tone, ...] = ("fail", "warn", "new", "soft")


def render_simulation(found: Simulation, *, name: str) -> str:
    """Render a simulation as a self-contained page.

    :param name: of the spec, for example its file
    """
    return render_page(
        "rollout/templates/simulation.html",
        name=name,
        found=found,
        equal=found.scenarios[0],
        rows=[_row(scenario) for scenario in found.scenarios],
        picture=_picture(found),
        seconds=describe_seconds,
    )


def describe_seconds(seconds: float) -> str:
    """Return a duration in the unit that a person would use."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _row(scenario: Scenario) -> dict[str, object]:
    return {
        "scenario": scenario,
        "wrong": scenario.harm if scenario.name == EQUAL else scenario.promoted,
        "means": "false rollback" if scenario.name == EQUAL else "missed",
    }


def _picture(found: Simulation) -> str:
    drawn = []
    for position, scenario in enumerate(found.scenarios):
        equal = scenario.name == EQUAL
        words = "equal candidate promoted" if equal else f"{scenario.name}: sent back"
        points = scenario.promoted_by if equal else scenario.back_by
        drawn.append(
            Curve(
                name=words,
                points=points,
                tone="pass" if equal else _TONES[(position - 1) % len(_TONES)],
                dashed=position > len(_TONES),
            )
        )
    return curves(drawn, title="When rollouts end", x_name="seconds", y_name="share of rollouts", x_from=0, y_from=0)
