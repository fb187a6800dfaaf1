"""The evidence of harm of many rollouts, in columns; the counterpart of what the transition keeps for one."""

from __future__ import annotations

import math
from typing import Any, Protocol

from airflow_mlops.rollout.metric import metrics_of
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.stats.e_value import ALTERNATIVES, WEIGHTS

__all__ = ["CohortHarm", "harm_of"]


class CohortHarm(Protocol):
    """Evidence of harm, per rollout and metric."""

    def add(self, rows: Any, canary: Any, baseline: Any) -> None:
        """Add what happened since the last look at these rollouts."""
        ...

    def shown(self, rows: Any, metric: int) -> Any:
        """Whether more than chance is shown, per rollout, by the metric at this position."""
        ...


def harm_of(spec: RolloutSpec, runs: int) -> CohortHarm:
    """Return the evidence that a spec asks for."""
    return AlwaysValidHarm(spec, runs)


class AlwaysValidHarm:
    """E-values, as in :mod:`airflow_mlops.stats.e_value`."""

    def __init__(self, spec: RolloutSpec, runs: int) -> None:
        import numpy as np

        self._metrics = metrics_of(spec)
        self._needed = math.log(len(self._metrics) / spec.alpha)
        self._logs = np.zeros((len(self._metrics), runs, len(ALTERNATIVES)))

    def add(self, rows: Any, canary: Any, baseline: Any) -> None:
        """Add what happened since the last look at these rollouts."""
        import numpy as np

        from airflow_mlops.rollout.cohort import COLUMNS

        times = np.array(ALTERNATIVES)
        for position, metric in enumerate(self._metrics):
            failed, tried = COLUMNS.index(metric.failures), COLUMNS.index(metric.trials)
            both = (canary[:, tried] > 0) & (baseline[:, tried] > 0)
            weighted = metric.harm_ratio * canary[:, tried]
            share = np.where(both, weighted / np.maximum(weighted + baseline[:, tried], 1), 0.5)[:, None]
            other = share * times / (share * times + 1.0 - share)
            ratios = canary[:, [failed]] * np.log(other / share) + baseline[:, [failed]] * np.log(
                (1.0 - other) / (1.0 - share)
            )
            self._logs[position][rows] += np.where(both[:, None], ratios, 0.0)

    def shown(self, rows: Any, metric: int) -> Any:
        """Whether more than chance is shown, per rollout, by the metric at this position."""
        import numpy as np

        values = np.logaddexp.reduce(self._logs[metric][rows] + np.log(WEIGHTS), axis=1)
        return values >= self._needed
