"""What all operators here have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow_mlops.evidence import Evidence

    _Base = BaseOperator
else:
    # Beside another provider's operator, a base class of its own would come before that operator's constructor.
    _Base = object

__all__ = ["MLOpsOperator", "MLOpsTask", "remember_decision"]


class MLOpsTask(_Base):
    """What a task of ours knows about itself: links while it runs, and lineage and durations once it has ended.

    The OpenLineage provider asks when the task has ended, perhaps in a forked process in which nothing can be fetched
    any more; so what the task returned and decided is remembered as it goes.
    """

    #: Whether the time until a result counts as a training's.
    trains: ClassVar[bool] = False
    _within = False
    #: What the task returned; None until it has.
    outcome: Any = None
    #: What the task has recorded, in order: document, URI and digest.
    decided: tuple[tuple[Evidence, str, str], ...] = ()
    #: Further values that lineage tells of, by what they are.
    seen: Mapping[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Follow what a subclass executes."""
        super().__init_subclass__(**kwargs)
        if "execute" in cls.__dict__:
            cls.execute = _followed(cls.execute)  # type: ignore[method-assign]

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on where the task fell asleep."""
        event = (next_kwargs or {}).get("event")
        if isinstance(event, Mapping) and "chosen_options" in event:
            from airflow_mlops.hooks.metrics import waits_for_person

            waits_for_person(context, waiting=False)
        return self._follow(context, lambda: super(MLOpsTask, self).resume_execution(next_method, next_kwargs, context))

    def get_openlineage_facets_on_start(self) -> Any:
        """Tell the OpenLineage provider what the task is about to read."""
        return self._lineage()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - the provider's signature
        """Tell the OpenLineage provider what the task read, made and decided."""
        return self._lineage()

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> Any:  # noqa: ARG002 - the provider's signature
        """Tell the OpenLineage provider what the task read and decided before it failed."""
        return self._lineage()

    def _lineage(self) -> Any:
        from airflow_mlops.hooks.openlineage import lineage_of

        return lineage_of(self)

    def _follow(self, context: Context, work: Callable[[], Any]) -> Any:
        try:
            self.outcome = work()
        except AirflowSkipException:
            raise
        except Exception:
            self._lasted(context, "failed")
            raise
        self._lasted(context, "succeeded")
        return self.outcome

    def _lasted(self, context: Context, outcome: str) -> None:
        if self.trains:
            from airflow_mlops.hooks.metrics import trained

            trained(context, str(getattr(self, "model_name", "")), outcome)


class MLOpsOperator(MLOpsTask, BaseOperator):
    """An operator that returns a mapping, each of whose values can be taken by its key: ``train.output["model"]``."""

    def __init__(self, *, multiple_outputs: bool = True, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)


def remember_decision(context: Context, evidence: Evidence, uri: str, digest: str) -> None:
    """Let the running task know what it has recorded.

    :param uri: where the document lies
    :param digest: its digest
    """
    task = context.get("task")
    if isinstance(task, MLOpsTask):
        task.decided = (*task.decided, (evidence, uri, digest))


def _followed(execute: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(execute)
    def follow(self: MLOpsTask, context: Context, *args: Any, **kwargs: Any) -> Any:
        # A subclass's method calls that of its base; the outermost is the task.
        if self._within:
            return execute(self, context, *args, **kwargs)
        from airflow_mlops.links.pages import show

        self._within = True
        try:
            show(context, self)
            return self._follow(context, lambda: execute(self, context, *args, **kwargs))
        finally:
            self._within = False

    return follow
