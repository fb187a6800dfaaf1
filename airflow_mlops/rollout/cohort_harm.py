"""The evidence of harm of many rollouts, in columns; the counterpart of what the transition keeps for one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from airflow_mlops.rollout.fixed_horizon import is_high
from airflow_mlops.rollout.group import is_due
from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.spec import MannWhitneyCheck, RolloutSpec
from airflow_mlops.stats.e_value import ALTERNATIVES, WEIGHTS
from airflow_mlops.stats.group_sequential import NOBODY_YET, chances, follow, spent

if TYPE_CHECKING:
    from airflow_mlops.rollout.cohort import Cohort

__all__ = ["COLUMNS", "CohortHarm", "columns_of", "harm_of"]

COLUMNS = ("requests", "errors", "timed", "slow")
"""What is counted of an arm between two looks, in the order of the columns."""


class CohortHarm(Protocol):
    """Evidence of harm, per rollout and metric."""

    def add(self, rows: Any, cohort: Cohort, canary: Any, baseline: Any) -> None:
        """Add what happened since the last look at these rollouts; the cohort's counts hold it already."""
        ...

    def close_step(self, rows: Any, cohort: Cohort) -> None:
        """End a step of these rollouts, before its counts are forgotten."""
        ...

    def shown(self, rows: Any, metric: int) -> Any:
        """Whether more than chance is shown, per rollout, by the metric at this position."""
        ...

    def complete(self, rows: Any) -> Any:
        """Whether a step may end, per rollout."""
        ...


def harm_of(spec: RolloutSpec, runs: int) -> CohortHarm:
    """Return the evidence that a spec asks for."""
    if spec.fixed_horizon is not None:
        return RankHarm(spec, spec.fixed_horizon, runs)
    return AlwaysValidHarm(spec, runs) if spec.max_samples is None else GroupHarm(spec, runs)


def columns_of(metric: Metric) -> tuple[int, int]:
    """Return the columns of a metric's failures and trials."""
    return COLUMNS.index(metric.failures), COLUMNS.index(metric.trials)


class AlwaysValidHarm:
    """E-values, as in :mod:`airflow_mlops.stats.e_value`."""

    def __init__(self, spec: RolloutSpec, runs: int) -> None:
        import numpy as np

        self._metrics = metrics_of(spec)
        self._needed = [-math.log(spec.alpha * metric.alpha_share) for metric in self._metrics]
        self._logs = np.zeros((len(self._metrics), runs, len(ALTERNATIVES)))

    def add(self, rows: Any, cohort: Cohort, canary: Any, baseline: Any) -> None:  # noqa: ARG002 - the port's
        """Add what happened since the last look at these rollouts."""
        import numpy as np

        times = np.array(ALTERNATIVES)
        for position, metric in enumerate(self._metrics):
            failed, tried = columns_of(metric)
            both = (canary[:, tried] > 0) & (baseline[:, tried] > 0)
            weighted = metric.harm_ratio * canary[:, tried]
            share = np.where(both, weighted / np.maximum(weighted + baseline[:, tried], 1), 0.5)[:, None]
            other = share * times / (share * times + 1.0 - share)
            ratios = canary[:, [failed]] * np.log(other / share) + baseline[:, [failed]] * np.log(
                (1.0 - other) / (1.0 - share)
            )
            self._logs[position][rows] += np.where(both[:, None], ratios, 0.0)

    def close_step(self, rows: Any, cohort: Cohort) -> None:
        """Keep everything: the evidence belongs to the whole rollout."""

    def shown(self, rows: Any, metric: int) -> Any:
        """Whether more than chance is shown, per rollout, by the metric at this position."""
        import numpy as np

        values = np.logaddexp.reduce(self._logs[metric][rows] + np.log(WEIGHTS), axis=1)
        return values >= self._needed[metric]

    def complete(self, rows: Any) -> Any:
        """Hold no step up."""
        import numpy as np

        return np.ones(len(rows), bool)


class GroupHarm:
    """Group-sequential tests, as in :mod:`airflow_mlops.rollout.group`, followed rollout by rollout at each test."""

    def __init__(self, spec: RolloutSpec, runs: int) -> None:
        import numpy as np

        self._largest = spec.max_samples or 1
        self._metrics = metrics_of(spec)
        self._alpha = spec.alpha
        self._fraction = np.zeros(runs)
        self._canary = np.zeros((runs, len(COLUMNS)), int)
        self._baseline = np.zeros((runs, len(COLUMNS)), int)
        self._failures = np.zeros((len(self._metrics), runs), int)
        self._reached = np.zeros((len(self._metrics), runs), bool)
        self._paths = [[NOBODY_YET] * runs for _ in self._metrics]

    def add(self, rows: Any, cohort: Cohort, canary: Any, baseline: Any) -> None:  # noqa: ARG002 - the port's
        """Test those rollouts whose time has come."""
        import numpy as np

        fractions = np.minimum(1.0, (cohort.requests_before[rows] + cohort.canary[rows, 0]) / self._largest)
        for row, fraction in zip(rows.tolist(), fractions.tolist(), strict=True):
            if is_due(float(self._fraction[row]), fraction):
                self._window(row, cohort, fraction)
                self._fraction[row] = fraction
                self._canary[row], self._baseline[row] = cohort.canary[row], cohort.baseline[row]

    def close_step(self, rows: Any, cohort: Cohort) -> None:
        """End the window with the step."""
        for row in rows.tolist():
            if (cohort.canary[row] != self._canary[row]).any():
                self._window(row, cohort, None)
        self._canary[rows] = 0
        self._baseline[rows] = 0

    def shown(self, rows: Any, metric: int) -> Any:
        """Whether a test rejected so far, per rollout, by the metric at this position."""
        return self._reached[metric][rows]

    def complete(self, rows: Any) -> Any:
        """Hold no step up."""
        import numpy as np

        return np.ones(len(rows), bool)

    def _window(self, row: int, cohort: Cohort, fraction: float | None) -> None:
        import numpy as np

        canary = (cohort.canary[row] - self._canary[row]).tolist()
        baseline = (cohort.baseline[row] - self._baseline[row]).tolist()
        convolve: Any = np.convolve
        for position, metric in enumerate(self._metrics):
            failed, tried = columns_of(metric)
            span = chances(canary[failed] + baseline[failed], canary[tried], baseline[tried], metric.harm_ratio)
            allowed = None if fraction is None else spent(self._alpha * metric.alpha_share, fraction)
            self._paths[position][row], bound = follow(
                self._paths[position][row], span=span, allowed=allowed, convolve=convolve
            )
            self._failures[position, row] += canary[failed]
            if bound is not None and bound.reached(int(self._failures[position, row]), canary[failed]):
                self._reached[position, row] = True


class RankHarm:
    """Ranks over a fixed number of looks, as in :mod:`airflow_mlops.rollout.fixed_horizon`."""

    def __init__(self, spec: RolloutSpec, check: MannWhitneyCheck, runs: int) -> None:
        import numpy as np

        self._metrics = metrics_of(spec)
        self._check = check
        self._points = np.zeros((len(self._metrics), runs, check.looks, 2))
        self._seen = np.zeros((len(self._metrics), runs), int)
        self._high = np.zeros((len(self._metrics), runs), bool)

    def add(self, rows: Any, cohort: Cohort, canary: Any, baseline: Any) -> None:  # noqa: ARG002 - the port's
        """Add a pair of rates, and compare where there are enough."""
        for position, metric in enumerate(self._metrics):
            failed, tried = columns_of(metric)
            seen = self._seen[position]
            here = (canary[:, tried] > 0) & (baseline[:, tried] > 0) & (seen[rows] < self._check.looks)
            some = rows[here]
            for arm, counts in enumerate((canary[here], baseline[here])):
                self._points[position, some, seen[some], arm] = counts[:, failed] / counts[:, tried]
            seen[some] += 1
            for row in some[seen[some] == self._check.looks].tolist():
                points = tuple(map(tuple, self._points[position, row].tolist()))
                self._high[position, row] = is_high(self._check, points)

    def close_step(self, rows: Any, cohort: Cohort) -> None:  # noqa: ARG002 - the port's
        """Begin again."""
        self._seen[:, rows] = 0
        self._high[:, rows] = False

    def shown(self, rows: Any, metric: int) -> Any:
        """Whether the ranks say that it is worse, per rollout, by the metric at this position."""
        return self._high[metric][rows]

    def complete(self, rows: Any) -> Any:
        """Whether all looks were seen, per rollout."""
        return (self._seen[:, rows] >= self._check.looks).all(axis=0)
