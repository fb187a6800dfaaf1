"""What one DAG run decided, as a flow: stage by stage, each with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.governance.timeline import TimelineEntry
from airflow_mlops.verdict import Verdict

__all__ = ["FlowStage", "RunFlow", "run_flow"]

_TITLES = {
    "validation": "Data",
    "evaluation": "Evaluation",
    "gate": "Gate",
    "approval": "Approval",
    "registration": "Registration",
    "card": "Model card",
    "smoke": "Server check",
    "shadow": "Shadow traffic",
    "rollout": "Rollout",
    "promotion": "Promotion",
    "rejection": "Taken out",
    "drift": "Drift",
    "retraining": "Retraining",
}
#: Of several decisions of these kinds the last one counts; of others, such as the data's parts, the worst.
_LAST_COUNTS = frozenset({"approval", "rollout", "promotion", "rejection", "retraining"})


@dataclass(frozen=True, kw_only=True)
class FlowStage:
    """All decisions of one kind about one subject.

    :param kind: as :func:`~airflow_mlops.governance.decided.slot_of` says it
    :param subject: the model or dataset
    :param title: a word or two
    :param verdict: of the last decision or, where each is about another part, the worst
    :param entries: oldest first
    """

    kind: str
    subject: str
    title: str
    verdict: Verdict
    entries: tuple[TimelineEntry, ...]


@dataclass(frozen=True, kw_only=True)
class RunFlow:
    """What a DAG run decided.

    :param stages: in the order in which they began
    :param models: models that were decided about, with the number of the newest such document
    """

    dag_id: str
    run_id: str
    stages: tuple[FlowStage, ...]
    models: tuple[tuple[str, int], ...]

    @property
    def verdict(self) -> Verdict | None:
        """Of the stage that ended last; None if nothing was decided. A card tells of the model, and decides nothing."""
        deciding = [stage for stage in self.stages if stage.kind != "card"] or self.stages
        last = max(deciding, key=lambda stage: stage.entries[-1].decided_at, default=None)
        return None if last is None else last.verdict


def run_flow(dag_id: str, run_id: str, entries: Sequence[TimelineEntry]) -> RunFlow:
    """Gather a run's decisions into stages.

    :param entries: of this run, in any order
    """
    stages: dict[tuple[str, str], list[TimelineEntry]] = {}
    models: dict[str, int] = {}
    for entry in sorted(entries, key=lambda entry: (entry.decided_at, entry.number)):
        stages.setdefault((entry.kind, entry.subject), []).append(entry)
        if entry.kind != "validation":
            models[entry.subject] = max(entry.number, models.get(entry.subject, 0))
    return RunFlow(
        dag_id=dag_id,
        run_id=run_id,
        stages=tuple(_stage(kind, subject, many) for (kind, subject), many in stages.items()),
        models=tuple(sorted(models.items())),
    )


def _stage(kind: str, subject: str, entries: Sequence[TimelineEntry]) -> FlowStage:
    worst = max((entry.verdict for entry in entries), key=lambda verdict: verdict.severity)
    return FlowStage(
        kind=kind,
        subject=subject,
        title=_TITLES.get(kind, kind.capitalize()),
        verdict=entries[-1].verdict if kind in _LAST_COUNTS else worst,
        entries=tuple(entries),
    )
