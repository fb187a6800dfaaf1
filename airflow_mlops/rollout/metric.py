"""What is counted in a rollout, and what is tolerated in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_mlops.rollout.checks import LABELLED, LABELS, USERS, tally_above
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec

__all__ = ["EARLIER_LABELS", "Metric", "metrics_of", "proven_by"]

EARLIER_LABELS = "labels_of_earlier_steps"
"""Tally of labels that counted in this step, of predictions made before it: evidence of harm, but no proof."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One thing that is counted, and what is tolerated in it.

    :param name: stable identifier
    :param noun: what happened to a request that counts as a failure, for sentences
    :param failures: the field of :class:`~airflow_mlops.rollout.observation.Counts` with the failures
    :param trials: the field with the requests that could fail
    :param max_increase: tolerated increase of the share of failures, absolute
    :param harm_ratio: harm is shown against this multiple of the stable model's share
    :param alpha_share: part of the rollout's ``alpha`` that the test of harm may spend; all metrics have 1 together
    :param unit: what is counted, for sentences
    :param tally: the tally to count in place of the fields; empty for the fields
    :param inverted: whether what is no hit of the tally counts as a failure
    :param common: whether the failures may be most of the trials, so that the test of harm has to look at the rest, too
    :param min_trials: trials that both models need in a step before anything is proven; None takes the step's
    """

    name: str
    noun: str
    max_increase: float
    harm_ratio: float
    failures: Literal["errors", "slow"] = "errors"
    trials: Literal["requests", "timed"] = "requests"
    alpha_share: float = 1.0
    unit: str = "requests"
    tally: str = ""
    inverted: bool = False
    common: bool = False
    min_trials: int | None = None

    def of(self, counts: Counts) -> tuple[int, int]:
        """Return failures and trials, never more failures than trials.

        Counters that began again unnoticed, or were not read in one moment, can show more failures than requests; a
        user who was counted before a step may meet an error in it. What failed was tried.
        """
        return self._of(counts, self.tally)

    def ever_of(self, counts: Counts) -> tuple[int, int]:
        """Return failures and trials with those of predictions that were made before the step."""
        failures, trials = self.of(counts)
        if self.tally != LABELS:
            return failures, trials
        more_failures, more_trials = self._of(counts, EARLIER_LABELS)
        return failures + more_failures, trials + more_trials

    def _of(self, counts: Counts, tally: str) -> tuple[int, int]:
        if not tally:
            failures = getattr(counts, self.failures)
            return failures, max(getattr(counts, self.trials), failures)
        found = counts.tally(tally)
        total = max(found.total, found.hits)
        return (total - found.hits if self.inverted else found.hits), total


def metrics_of(spec: RolloutSpec) -> tuple[Metric, ...]:
    """Return what a rollout under this spec is judged by."""
    share = 1.0 / (1 + sum(check is not None for check in (spec.latency, spec.labels, spec.predictions)))
    by_users = spec.unit == "users"
    errors = Metric(
        name="error_rate",
        noun="met an error" if by_users else "failed",
        max_increase=spec.error_rate.max_increase,
        harm_ratio=spec.error_rate.harm_ratio,
        alpha_share=share,
        unit="users" if by_users else "requests",
        tally=USERS if by_users else "",
    )
    return errors, *_latency(spec, share), *_labels(spec, share), *_predictions(spec, share)


def proven_by(spec: RolloutSpec, step: CanaryStep) -> tuple[Metric, ...]:
    """Return what a step has to prove; labels only where it says so."""
    shown = tuple(metric for metric in metrics_of(spec) if metric.tally != LABELS or step.judge_labels)
    return (*shown, *_coverage(spec)) if step.judge_labels else shown


def _latency(spec: RolloutSpec, share: float) -> tuple[Metric, ...]:
    if spec.latency is None:
        return ()
    slow = Metric(
        name="latency",
        noun=f"took longer than {spec.latency.slow_ms} ms",
        failures="slow",
        trials="timed",
        max_increase=spec.latency.max_increase,
        harm_ratio=spec.latency.harm_ratio,
        alpha_share=share,
    )
    return (slow,)


def _labels(spec: RolloutSpec, share: float) -> tuple[Metric, ...]:
    if spec.labels is None:
        return ()
    wrong = Metric(
        name="labels",
        noun="were wrong",
        max_increase=spec.labels.max_increase,
        harm_ratio=spec.labels.harm_ratio,
        alpha_share=share,
        unit="labelled predictions",
        tally=LABELS,
        min_trials=spec.labels.min_labels,
    )
    return (wrong,)


def _coverage(spec: RolloutSpec) -> tuple[Metric, ...]:
    """Return what makes labels comparable: no sign of harm, so nobody is sent back for it before the time is up."""
    if spec.labels is None or spec.labels.max_coverage_difference is None:
        return ()
    return tuple(
        Metric(
            name=f"label_coverage_{'lower' if lower else 'higher'}",
            noun="had no label" if lower else "had a label",
            max_increase=spec.labels.max_coverage_difference,
            harm_ratio=1.0,
            alpha_share=0.0,
            unit="predictions old enough for a label",
            tally=LABELLED,
            inverted=lower,
            common=True,
            min_trials=spec.labels.min_labels,
        )
        for lower in (True, False)
    )


def _predictions(spec: RolloutSpec, share: float) -> tuple[Metric, ...]:
    """Two metrics per edge: a difference to either side is an increase of what lies on that side."""
    if spec.predictions is None:
        return ()
    each = share / (2 * len(spec.predictions.edges))
    return tuple(
        Metric(
            name=f"predictions_{'below' if below else 'above'}_{edge:.15g}",
            noun=f"were {'below' if below else 'at or above'} {edge:.15g}",
            max_increase=spec.predictions.max_difference,
            harm_ratio=1.0,
            alpha_share=each,
            unit="predictions",
            tally=tally_above(edge),
            inverted=below,
            common=True,
        )
        for edge in spec.predictions.edges
        for below in (False, True)
    )
