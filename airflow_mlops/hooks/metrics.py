"""What those who run releases watch, told through Airflow's own metrics: StatsD, Datadog or OpenTelemetry.

Airflow decides by its section ``[metrics]`` where they go; where that is nowhere, telling costs microseconds. The
names, their tags and their units are part of what this package promises; docs/metrics.md lists them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import Context

from airflow_mlops.exceptions import ContractError

if TYPE_CHECKING:
    from airflow_mlops.rollout.plan import Plan
    from airflow_mlops.rollout.state import RolloutState

__all__ = ["METRICS", "Looks", "Metric", "Telling", "in_task", "in_triggerer", "trained", "waits_for_person"]

# What every backend takes in a tag's value; StatsD ends a name at a colon, and a tag at a comma.
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_./-]")
# Airflow refuses names of more than 250 characters, which hold the tags, too, where they are sent as InfluxDB does.
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Metric:
    """One series of numbers.

    :param name: as Airflow's code knows it; the backend puts a prefix before it
    :param kind: ``counter`` only grows, ``gauge`` is what it was told last, ``timer`` is a distribution of durations
    :param unit: of what is told; timers are told in milliseconds, as Airflow does
    :param tags: names of its tags
    """

    name: str
    kind: Literal["counter", "gauge", "timer"]
    unit: str
    tags: tuple[str, ...]


DECISIONS = Metric("mlops.decisions", "counter", "decisions", ("decision", "verdict", "subject"))
DRIFT_FOUND = Metric("mlops.drift.found", "gauge", "0 or 1", ("model",))
DRIFT_VALUE = Metric("mlops.drift.value", "gauge", "unit of the check", ("model", "check"))
DRIFT_THRESHOLD = Metric("mlops.drift.threshold", "gauge", "unit of the check", ("model", "check"))
RETRAINING = Metric("mlops.retraining", "counter", "decisions", ("model", "wanted"))
TRAINING = Metric("mlops.training", "timer", "ms", ("model", "outcome"))
APPROVAL_WAITING = Metric("mlops.approval.waiting", "gauge", "0 or 1", ("dag", "task"))
ROLLOUT_UNDER_WAY = Metric("mlops.rollout.under_way", "gauge", "0 or 1", ("model",))
ROLLOUT_WEIGHT = Metric("mlops.rollout.weight", "gauge", "percent", ("model",))
ROLLOUT_STEP = Metric("mlops.rollout.step", "gauge", "position from 1", ("model",))
ROLLOUT_EXPOSURE = Metric("mlops.rollout.exposure_seconds", "gauge", "s", ("model",))
ROLLOUT_UNKNOWN = Metric("mlops.rollout.unknown_seconds", "gauge", "s", ("model",))
ROLLOUT_APPROVAL = Metric("mlops.rollout.awaits_approval", "gauge", "0 or 1", ("model",))
ROLLOUT_LOOKS = Metric("mlops.rollout.looks", "counter", "looks", ("model", "verdict"))
ROLLOUT_RENEWALS = Metric("mlops.rollout.lease_renewals", "counter", "renewals", ("model",))
ROLLOUT_ENDED = Metric("mlops.rollout.ended", "counter", "rollouts", ("model", "outcome", "cause"))
ROLLOUT_EXPOSED = Metric("mlops.rollout.exposed", "timer", "ms", ("model", "outcome"))

METRICS: tuple[Metric, ...] = (
    *(DECISIONS, DRIFT_FOUND, DRIFT_VALUE, DRIFT_THRESHOLD, RETRAINING, TRAINING, APPROVAL_WAITING),
    *(ROLLOUT_UNDER_WAY, ROLLOUT_WEIGHT, ROLLOUT_STEP, ROLLOUT_EXPOSURE, ROLLOUT_UNKNOWN, ROLLOUT_APPROVAL),
    *(ROLLOUT_LOOKS, ROLLOUT_RENEWALS, ROLLOUT_ENDED, ROLLOUT_EXPOSED),
)


class Telling:
    """Hands metrics to one of Airflow's two copies of its metrics client.

    :param stats: a module with ``incr``, ``gauge`` and ``timing``
    """

    def __init__(self, stats: Any) -> None:
        self._stats = stats

    def count(self, metric: Metric, number: int = 1, **tags: object) -> None:
        """Add to a counter."""
        self._stats.incr(metric.name, number, tags=_tags(metric, "counter", tags))

    def gauge(self, metric: Metric, value: float, **tags: object) -> None:
        """Say how much it is now."""
        self._stats.gauge(metric.name, value, tags=_tags(metric, "gauge", tags))

    def lasted(self, metric: Metric, seconds: float, **tags: object) -> None:
        """Add a duration to a distribution."""
        self._stats.timing(metric.name, seconds * 1000, tags=_tags(metric, "timer", tags))

    def decided(self, decision: str, subject: str, verdict: str, checks: Iterable[Any] = ()) -> None:
        """Tell of a decision that was recorded.

        :param checks: the judgements behind it; those of ``drift`` have values to watch
        """
        self.count(DECISIONS, decision=decision, verdict=verdict, subject=subject)
        if decision != "drift":
            return
        self.gauge(DRIFT_FOUND, float(verdict == "fail"), model=subject)
        for check in checks:
            for metric, value in ((DRIFT_VALUE, check.value), (DRIFT_THRESHOLD, check.threshold)):
                if value is not None:
                    self.gauge(metric, value, model=subject, check=check.name)

    def looked(self, state: RolloutState, verdict: str, *, now: float, renewed: bool) -> None:
        """Tell where a rollout stands after a look.

        :param verdict: what the look concluded
        :param now: seconds since the epoch
        :param renewed: whether the look renewed the lease
        """
        from airflow_mlops.rollout.state import awaits_approval
        from airflow_mlops.rollout.telemetry import candidate_weight, exposure_seconds

        model = state.model_name
        self.count(ROLLOUT_LOOKS, model=model, verdict=verdict)
        if renewed:
            self.count(ROLLOUT_RENEWALS, model=model)
        unknown = 0.0 if state.unknown_since is None else now - state.unknown_since
        self.gauge(ROLLOUT_UNDER_WAY, float(not state.finished), model=model)
        self.gauge(ROLLOUT_WEIGHT, candidate_weight(state), model=model)
        self.gauge(ROLLOUT_STEP, state.step_index + 1, model=model)
        self.gauge(ROLLOUT_EXPOSURE, exposure_seconds(state, now), model=model)
        self.gauge(ROLLOUT_UNKNOWN, unknown, model=model)
        self.gauge(ROLLOUT_APPROVAL, float(awaits_approval(state)), model=model)

    def ended(self, state: RolloutState) -> None:
        """Tell how a rollout ended."""
        from airflow_mlops.rollout.telemetry import candidate_weight, cause_of_end, exposure_seconds

        model, seconds = state.model_name, exposure_seconds(state, 0.0)
        self.count(ROLLOUT_ENDED, model=model, outcome=state.phase, cause=cause_of_end(state))
        self.lasted(ROLLOUT_EXPOSED, seconds, model=model, outcome=state.phase)
        self.gauge(ROLLOUT_WEIGHT, candidate_weight(state), model=model)
        self.gauge(ROLLOUT_EXPOSURE, seconds, model=model)
        for metric in (ROLLOUT_UNDER_WAY, ROLLOUT_UNKNOWN, ROLLOUT_APPROVAL):
            self.gauge(metric, 0.0, model=model)


class Looks:
    """Tells of the looks of one rollout.

    :param telling: returns to whom, once there is something to tell
    """

    def __init__(self, telling: Callable[[], Telling]) -> None:
        self._telling = telling
        self._sequence: int | None = None

    def tell(self, state: RolloutState, plan: Plan) -> None:
        """Tell of a look, right after it."""
        # A look that knows something about the candidate stores it, and with that renews the lease.
        renewed = state.unknown_since is None and state.sequence != self._sequence
        self._sequence = state.sequence
        self._telling().looked(state, plan.verdict.value, now=time.time(), renewed=renewed)


def in_task() -> Telling:
    """Tell from a task's process, where Airflow sets up the task SDK's client."""
    from airflow.sdk.observability import stats

    return Telling(stats)


def in_triggerer() -> Telling:
    """Tell from a trigger, whose process has the client of Airflow itself."""
    from airflow.observability import stats

    return Telling(stats)


def trained(context: Context, model_name: str, outcome: str) -> None:
    """Tell how long the running task's try took to train, with all its waiting.

    :param outcome: ``succeeded`` or ``failed``
    """
    begun = getattr(context["ti"], "start_date", None)
    if isinstance(begun, datetime):
        seconds = (datetime.now(tz=UTC) - begun).total_seconds()
        in_task().lasted(TRAINING, seconds, model=model_name, outcome=outcome)


def waits_for_person(context: Context, *, waiting: bool) -> None:
    """Tell whether the running task waits for somebody's answer."""
    ti = context["ti"]
    in_task().gauge(APPROVAL_WAITING, float(waiting), dag=ti.dag_id, task=ti.task_id)


def _tags(metric: Metric, kind: str, given: dict[str, object]) -> dict[str, str]:
    if metric.kind != kind or set(given) != set(metric.tags):
        raise ContractError(f"{metric.name} is a {metric.kind} with the tags {', '.join(metric.tags)}")
    return {name: _FORBIDDEN.sub("_", str(given[name]))[:_LONGEST_VALUE] or "none" for name in metric.tags}
