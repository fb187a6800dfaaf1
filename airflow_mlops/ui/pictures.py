"""Pictures that templates draw from what they show: shares of the traffic, and what is known of both models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from airflow_mlops.plots import ForestRow, Picture, forest, weight_bar, weights_over_time
from airflow_mlops.stats.wilson import wilson_interval
from airflow_mlops.verdict import CheckResult

__all__ = ["PICTURES", "increase_plot", "rate_plot", "weight_plot"]

_CONFIDENCE = 0.95


class _Change(Protocol):
    @property
    def at(self) -> float: ...
    @property
    def weights(self) -> Mapping[str, int]: ...


def weight_plot(changes: Sequence[_Change], *, model: str, new: str | None, until: float | None) -> Picture:
    """Draw a model's traffic over time.

    :param until: seconds since the epoch; None for a little after the last change, which was not followed further
    """
    pairs = [(change.at, change.weights) for change in changes]
    if until is None:
        until = pairs[-1][0] + max(10.0, (pairs[-1][0] - pairs[0][0]) / 8)
    return weights_over_time(pairs, title=f"Share of the requests to {model}, over time", new=new, until=until)


def rate_plot(check: CheckResult, *, what: str, candidate: str, stable: str) -> Picture | None:
    """Draw both models' shares of failures in a step with 95 % intervals, None while one has seen nothing.

    :param check: the test of harm, which has the counts
    :param what: what was counted
    """
    details = check.details
    trials = (check.sample_size, details.get("baseline_sample_size"))
    failures = (details.get("failures"), details.get("baseline_failures"))
    if None in failures or not all(trials):
        return None
    rows = []
    for name, failed, seen, tone in zip((candidate, stable), failures, trials, ("new", "soft"), strict=True):
        low, high = wilson_interval(int(failed or 0), int(seen or 0), _CONFIDENCE)
        share = int(failed or 0) / int(seen or 1)
        rows.append(ForestRow(label=name, value=100 * share, low=100 * low, high=100 * high, tone=tone))  # type: ignore[arg-type]
    return forest(rows, title=f"Percent of {what}", scale_to=(0.0,))


def increase_plot(harm: CheckResult, proof: CheckResult | None, *, what: str, tolerated: float) -> Picture | None:
    """Draw by how much more the candidate fails, with the bounds of this look and of the proof over all looks.

    :param proof: the last try at a proof, None if there was none
    :param tolerated: the greatest increase that is, a share; drawn as an upright line
    """
    details = harm.details
    if not harm.sample_size or not details.get("baseline_sample_size"):
        return None
    parts = [("at this look, 95 %", details["increase"], details["increase_low"], details["increase_high"])]
    if proof is not None and proof.value is not None and proof.low is not None and proof.high is not None:
        parts.append(("bound at every look", proof.value, proof.low, proof.high))
    rows = [
        ForestRow(label=label, value=100 * value, low=100 * low, high=100 * high, tone=_tone(high, tolerated))
        for label, value, low, high in parts
    ]
    title = f"Increase of {what}, in percentage points; the upright line is what is tolerated"
    return forest(rows, title=title, reference=100 * tolerated, signed=True, scale_to=(0.0,))


def _tone(high: float, tolerated: float) -> Any:
    return "pass" if high <= tolerated else "new"


PICTURES: dict[str, Callable[..., Any]] = {
    "increase_plot": increase_plot,
    "rate_plot": rate_plot,
    "weight_bar": weight_bar,
    "weight_plot": weight_plot,
}
"""By these names templates know them."""
