"""The operator that says what a candidate goes by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.operators.evaluation import EvaluateModelOperator
from airflow_mlops.operators.outcome import airflow_errors

__all__ = ["ExplainModelOperator"]


class ExplainModelOperator(EvaluateModelOperator):
    """Explain a candidate, in an environment of its own: what explains models need not be where they are trained.

    An evaluation that asks only for explanations: the result is that of
    :class:`~airflow_mlops.operators.evaluation.EvaluateModelOperator`, and a gate whose policy asks only about
    explanations may judge it. Evaluations in Docker and on Kubernetes explain, too, by their ``diagnostics``, if their
    image holds ``docker/trainer/explanations-requirements.txt``.

    :param candidate: encoded ModelRef (templated)
    :param dataset: encoded DatasetRef, or a list of them, that neither model was trained on (templated)
    :param target: column with the labels (templated)
    :param model_name: name of the model (templated)
    :param champion: encoded ModelRef of what serves now; None for a first release (templated)
    :param explanations: fields of :class:`~airflow_mlops.evaluation.explanations.ExplanationsSpec`; None for importance
        by permutation, which needs no package (templated)
    :param error_examples: fields of :class:`~airflow_mlops.evaluation.error_examples.ErrorExamplesSpec`: which columns
        of the worst rows may be shown; None to show no rows (templated)
    :param day_column: column that groups rows which are not independent
    :param confidence: two-sided coverage of all intervals
    :param python: interpreter of an environment with the trainer's requirements and
        ``docker/trainer/explanations-requirements.txt``; None for the option ``[mlops] model_python``, which is enough
        for the method ``permutation``
    :param environment: variables for the process (templated)
    :param timeout_seconds: how long all of it may take

    Further arguments are those of ``EvaluateModelOperator``, such as ``task`` and ``loading``, but for ``diagnostics``.
    """

    template_fields: Sequence[str] = (*EvaluateModelOperator.template_fields, "explanations", "error_examples")

    def __init__(
        self,
        *,
        candidate: Mapping[str, Any],
        dataset: Any,
        target: str,
        model_name: str,
        champion: Mapping[str, Any] | None = None,
        explanations: Mapping[str, Any] | None = None,
        error_examples: Mapping[str, Any] | None = None,
        day_column: str = "date",
        confidence: float = 0.95,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            candidate=candidate,
            dataset=dataset,
            target=target,
            model_name=model_name,
            champion=champion,
            day_column=day_column,
            confidence=confidence,
            python=python,
            environment=environment,
            timeout_seconds=timeout_seconds,
            **kwargs,
        )
        self.explanations = explanations
        self.error_examples = error_examples

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Explain, and publish what was found."""
        if self.diagnostics is not None:
            accepted = "only explanations and error_examples; other sections belong to EvaluateModelOperator"
            raise SpecificationError("diagnostics", self.diagnostics, accepted)
        asked = {"explanations": self.explanations or {}, "error_examples": self.error_examples}
        self.diagnostics = {name: fields for name, fields in asked.items() if fields is not None}
        return super().execute(context)
