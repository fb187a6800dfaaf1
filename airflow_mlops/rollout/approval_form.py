"""What a person reads who is asked whether a rollout may go on."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_mlops.rollout.state import RolloutState, intended_weights
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["approval_form", "approval_subject"]

_HEAD = ("check", "verdict", "found", "interval", "bound", "in words")
_CONDITIONS = (
    "So it was at {at}. [The rollout's page]({address}) shows all decisions. The traffic is judged while this question "
    "is open, and goes back as soon as harm is proven. A rejection gives all traffic back, for good; so does no answer "
    "until {until}."
)
_SAME_FORM = (
    "Airflow keeps the text of a task's first question, for the next step that asks and after a retry: for those read "
    "the page."
)
_ORDER = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS)


def approval_subject(state: RolloutState) -> str:
    """Return the question in one line; it holds for all steps that ask."""
    return f"Route {state.model_name}: may {state.candidate} take more traffic from {state.stable}?"


def approval_form(state: RolloutState, *, report_address: str, now: float) -> str:
    """Return the question in Markdown, with the evidence as a table, the worst first.

    :param report_address: where the rollout's page is
    :param now: seconds since the epoch
    """
    split = ", ".join(f"{name} {weight} %" for name, weight in intended_weights(state).items())
    begun = now if state.step_since is None else state.step_since
    order = sorted(state.checks, key=lambda check: _ORDER.index(check.verdict))
    lines = [
        f"**Step {state.step_index + 1} of {len(state.spec.steps)}: {split}.** {state.proven}",
        "",
        f"| {' | '.join(_HEAD)} |",
        f"|{' --- |' * len(_HEAD)}",
        *(f"| {' | '.join(map(_cell, _row(check)))} |" for check in order),
        "",
        _CONDITIONS.format(
            at=_moment(now), address=report_address, until=_moment(begun + state.spec.timeout_of(state.rules))
        ),
        "",
        _SAME_FORM,
    ]
    return "\n".join(lines)


def _row(check: CheckResult) -> tuple[str, ...]:
    return (
        check.name,
        check.verdict.value if check.verdict.promotes else f"**{check.verdict.value}**",
        _number(check.value),
        "" if check.low is None or check.high is None else f"{_number(check.low)} to {_number(check.high)}",
        _number(check.threshold),
        check.reason,
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
