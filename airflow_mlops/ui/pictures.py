"""Pictures that templates draw from what they show: shares of the traffic, and what is known of both models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from airflow_mlops.plots import ForestRow, Picture, Tone, forest, weight_bar, weights_over_time
from airflow_mlops.rollout.live import LiveMetric
from airflow_mlops.stats.wilson import wilson_interval

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


def rate_plot(metric: LiveMetric, *, candidate: str, stable: str) -> Picture | None:
    """Draw both models' shares of failures in this step with 95 % intervals, None while one has seen nothing."""
    if not metric.trials or not metric.stable_trials:
        return None
    rows = (
        _rate(candidate, metric.failures, metric.trials, "new"),
        _rate(stable, metric.stable_failures, metric.stable_trials, "soft"),
    )
    return forest(rows, title=f"Percent of the {metric.what}, with 95 % intervals", scale_to=(0.0,))


def increase_plot(metric: LiveMetric) -> Picture | None:
    """Draw by how much more the candidate fails, up to the bound that holds however often one looks.

    The upright line is what is tolerated: the bound has to come below it.
    """
    if metric.increase is None or metric.low is None or metric.high is None:
        return None
    parts = [("at this look, 95 %", metric.low, metric.high)]
    if metric.proof_bound is not None:
        parts.append(("bound at every look", metric.increase, metric.proof_bound))
    rows = [
        ForestRow(
            label=label,
            value=100 * metric.increase,
            low=100 * low,
            high=100 * high,
            tone="pass" if high <= metric.tolerated else "new",
        )
        for label, low, high in parts
    ]
    title = f"Increase of the {metric.what}, in percentage points; tolerated up to the upright line"
    return forest(rows, title=title, reference=100 * metric.tolerated, signed=True, scale_to=(0.0,))


def _rate(name: str, failures: int, trials: int, tone: Tone) -> ForestRow:
    low, high = wilson_interval(failures, trials, _CONFIDENCE)
    return ForestRow(label=name, value=100 * failures / trials, low=100 * low, high=100 * high, tone=tone)


PICTURES: dict[str, Callable[..., Any]] = {
    "increase_plot": increase_plot,
    "rate_plot": rate_plot,
    "weight_bar": weight_bar,
    "weight_plot": weight_plot,
}
"""By these names templates know them."""
