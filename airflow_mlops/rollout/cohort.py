"""Many rollouts under one spec, looked at together: what :func:`~airflow_mlops.rollout.step.step` does, in columns.

A simulation needs thousands of rollouts with hundreds of looks each. Here a look is a few operations on arrays, with
the rules and the constants of the transition; a property test holds every path against the transition itself. What a
simulation never has is left out: foreign edits, gateways out of reach, counters that begin again, people who approve: a
step that is proven is approved at once. Labels, predictions, users and switches at once are not made up.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.cohort_harm import COLUMNS, columns_of, harm_of
from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.proof import PROOF_GROWTH, proof_error
from airflow_mlops.rollout.share import SHARE_TAIL
from airflow_mlops.rollout.spec import RolloutSpec

__all__ = ["CAUSES", "COLUMNS", "Cohort"]

CAUSES = ("progressing", "promoted", "harm", "unproven", "unknown")
"""How a rollout stands or ended, by its number in :attr:`Cohort.cause`."""

_PROGRESSING, _PROMOTED, _HARM, _UNPROVEN, _UNKNOWN = range(len(CAUSES))
_TRIES = 50  # the sample grows by half from try to try; nobody gets that far


class Cohort:
    """Rollouts side by side.

    :param spec: the rules of all of them
    :param runs: how many there are
    :raises SpecificationError: if the spec judges something that no simulated traffic has
    """

    def __init__(self, spec: RolloutSpec, runs: int) -> None:
        import numpy as np

        for name, value, left in (
            ("labels", spec.labels, None),
            ("predictions", spec.predictions, None),
            ("unit", spec.unit, "requests"),
            ("strategy", spec.strategy, "canary"),
        ):
            if value != left:
                raise SpecificationError(
                    f"RolloutSpec.{name}", value, f"{left or 'nothing'}: simulated traffic knows no other"
                )
        self.spec = spec
        self.metrics = metrics_of(spec)
        self._weights = np.array([step.weight_percent for step in spec.steps]) / 100
        self._min_seconds = np.array([step.min_seconds for step in spec.steps])
        self._min_requests = np.array([step.min_requests for step in spec.steps])
        self._timeouts = np.array([spec.timeout_of(step) for step in spec.steps])
        self._reach = np.array([_errors_reached(spec.confidence, tries) for tries in range(_TRIES)])
        self.cause = np.zeros(runs, int)
        self.step_index = np.zeros(runs, int)
        self.proof_looks = np.zeros(runs, int)
        self.step_since = np.full(runs, np.nan)
        self.unknown_since = np.full(runs, np.nan)
        self.canary = np.zeros((runs, len(COLUMNS)), int)
        self.baseline = np.zeros((runs, len(COLUMNS)), int)
        self.requests_before = np.zeros(runs, int)
        self.harm = harm_of(spec, runs)

    @property
    def weight(self) -> Any:
        """The candidates' shares of the requests, 0 to 1."""
        import numpy as np

        share = self._weights[self.step_index]
        return np.where(self.cause == _PROGRESSING, share, (self.cause == _PROMOTED) * 1.0)

    def look(self, window: dict[str, Any], now: float) -> None:
        """Judge what happened since the look before.

        :param window: arm (``canary``, ``baseline``) to one row of :data:`COLUMNS` per rollout
        :param now: seconds, the same clock at all looks
        """
        import numpy as np

        going = self.cause == _PROGRESSING
        begun = ~np.isnan(self.step_since)
        rows = np.flatnonzero(going & begun)
        starting = going & ~begun
        self.step_since[starting] = now
        self.unknown_since[starting] = np.nan
        if not len(rows):
            return
        canary, baseline = window["canary"][rows], window["baseline"][rows]
        self.canary[rows] += canary
        self.baseline[rows] += baseline
        harmful = self._harmful(rows, canary, baseline)
        self._end(rows[harmful], _HARM)
        blind = ~harmful & (self._share_is_wrong(rows) | (canary[:, 0] == 0) | (baseline[:, 0] == 0))
        self._wait_blindly(rows[blind], now)
        seeing = rows[~harmful & ~blind]
        self.unknown_since[seeing] = np.nan
        self._prove(seeing, now)

    def _end(self, rows: Any, cause: int) -> None:
        self.cause[rows] = cause

    def _harmful(self, rows: Any, canary: Any, baseline: Any) -> Any:
        import numpy as np

        self.harm.add(rows, self, canary, baseline)
        found = np.zeros(len(rows), bool)
        for position, metric in enumerate(self.metrics):
            _, increase = self._increase(rows, metric)
            found |= self.harm.shown(rows, position) & (increase > metric.max_increase)
        return found

    def _increase(self, rows: Any, metric: Metric) -> tuple[tuple[Any, Any, Any, Any], Any]:
        import numpy as np

        failed, tried = columns_of(metric)
        (failures, trials), (base_failures, base_trials) = (
            (counts[rows, failed], counts[rows, tried]) for counts in (self.canary, self.baseline)
        )
        increase = failures / np.maximum(trials, 1) - base_failures / np.maximum(base_trials, 1)
        increase[(trials == 0) | (base_trials == 0)] = 0.0
        return (failures, trials, base_failures, base_trials), increase

    def _share_is_wrong(self, rows: Any) -> Any:
        import numpy as np

        observed = self.canary[rows, 0]
        total = observed + self.baseline[rows, 0]
        share = observed / np.maximum(total, 1)
        weight = self._weights[self.step_index[rows]]
        divergence = np.zeros(len(rows))
        for part, expected in ((share, weight), (1.0 - share, 1.0 - weight)):
            divergence += part * np.log(np.where(part > 0, part, 1.0) / np.where(part > 0, expected, 1.0))
        return (np.exp(-total * divergence) < SHARE_TAIL) & (total > 0)

    def _wait_blindly(self, rows: Any, now: float) -> None:
        import numpy as np

        begun = np.where(np.isnan(self.unknown_since[rows]), now, self.unknown_since[rows])
        too_long = now - begun >= self.spec.max_unknown_seconds
        late = self._late(rows, now) & ~too_long
        self._end(rows[too_long], _UNKNOWN)
        self._end(rows[late], _UNPROVEN)
        self.unknown_since[rows] = begun

    def _late(self, rows: Any, now: float) -> Any:
        return now - self.step_since[rows] >= self._timeouts[self.step_index[rows]]

    def _exhausted(self, rows: Any) -> Any:
        import numpy as np

        if self.spec.max_samples is None:
            return np.zeros(len(rows), bool)
        return self.requests_before[rows] + self.canary[rows, 0] >= self.spec.max_samples

    def _prove(self, rows: Any, now: float) -> None:
        import numpy as np

        steps = self.step_index[rows]
        least = np.minimum(self.canary[rows, 0], self.baseline[rows, 0])
        needed = self._min_requests[steps] * PROOF_GROWTH ** self.proof_looks[rows]
        exhausted = self._exhausted(rows)
        seen = (now - self.step_since[rows] >= self._min_seconds[steps]) & self.harm.complete(rows)
        due = seen & (exhausted | (least >= needed))
        shown = due.copy()
        for metric in self.metrics:
            shown[due] &= self._is_bounded(rows[due], metric)
        self.proof_looks[rows[due & ~shown]] += 1
        self._end(rows[~shown & (exhausted | self._late(rows, now))], _UNPROVEN)
        self._advance(rows[shown])

    def _is_bounded(self, rows: Any, metric: Metric) -> Any:
        import numpy as np

        (failures, trials, base_failures, base_trials), increase = self._increase(rows, metric)
        z = self._reach[self.proof_looks[rows]]
        _, high = _wilson(failures, np.maximum(trials, 1), z)
        low, _ = _wilson(base_failures, np.maximum(base_trials, 1), z)
        share, base_share = failures / np.maximum(trials, 1), base_failures / np.maximum(base_trials, 1)
        bound = np.minimum(1.0, increase + np.hypot(high - share, base_share - low))
        enough = np.minimum(trials, base_trials) >= self._min_requests[self.step_index[rows]]
        return enough & (bound <= metric.max_increase)

    def _advance(self, rows: Any) -> None:
        import numpy as np

        last = self.step_index[rows] + 1 == len(self.spec.steps)
        self._end(rows[last], _PROMOTED)
        self.step_index[rows[~last]] += 1
        self.step_since[rows] = np.nan
        self.unknown_since[rows] = np.nan
        self.proof_looks[rows] = 0
        self.harm.close_step(rows, self)
        self.requests_before[rows] += self.canary[rows, 0]
        self.canary[rows] = 0
        self.baseline[rows] = 0


def _errors_reached(confidence: float, tries: int) -> float:
    """Return how many standard errors the two-sided interval of a try reaches."""
    level = 1.0 - 2.0 * proof_error(confidence, tries)
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def _wilson(successes: Any, trials: Any, z: Any) -> tuple[Any, Any]:
    """Return what :func:`~airflow_mlops.stats.wilson.wilson_interval` returns, for columns."""
    import numpy as np

    share = successes / trials
    denominator = 1.0 + z * z / trials
    centre = (share + z * z / (2.0 * trials)) / denominator
    reach = z / denominator * np.sqrt(share * (1.0 - share) / trials + z * z / (4.0 * trials * trials))
    low = np.where(successes == 0, 0.0, np.maximum(0.0, centre - reach))
    high = np.where(successes == trials, 1.0, np.minimum(1.0, centre + reach))
    return low, high
