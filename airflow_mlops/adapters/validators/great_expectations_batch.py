"""Great Expectations on a batch that a function of the user defined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.adapters.validators.expectations import Run, ephemeral_context, evaluate, quiet_library, run_suite
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.validation.report import RuleResult
from airflow_mlops.validation.source import TableFacts
from airflow_mlops.validation.spec import SuiteSpec

__all__ = ["GreatExpectationsBatchBackend", "batch_of_spark_frame"]


class GreatExpectationsBatchBackend:
    """Evaluates expectations wherever the library reads the batch.

    :param definition: a ``BatchDefinition``
    :param parameters: which batch, None for the only one
    """

    def __init__(self, definition: Any, parameters: Mapping[str, Any] | None = None) -> None:
        self._definition = definition
        self._parameters = parameters

    @property
    def name(self) -> str:
        """Data source, asset and batch definition."""
        asset = self._definition.data_asset
        return f"{asset.datasource.name}/{asset.name}/{self._definition.name}"

    def validate(self, suite: SuiteSpec, *, example_rows: int = 5) -> tuple[TableFacts, tuple[RuleResult, ...]]:
        """Evaluate every rule of the suite; without rows, none.

        :param suite: the rules; their types are names of expectations
        :param example_rows: at most how many distinct unexpected values a result shows; 0 shows none
        :return: what was seen of the batch, and one result per rule
        :raises SpecificationError: on an unknown expectation (with the nearest name) or wrong arguments
        :raises PermanentAdapterError: if the batch cannot be had
        """
        with quiet_library():
            facts = self._look()
            if not facts.rows:
                return facts, ()

            def load() -> tuple[list[str], Run]:
                return list(facts.columns), run

            def run(expectations: Sequence[Any], form: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
                return run_suite(self._definition, self._parameters, suite.name, expectations, form)

            return facts, evaluate(suite, load, example_rows=example_rows)

    def _look(self) -> TableFacts:
        from great_expectations.exceptions import GreatExpectationsError
        from great_expectations.metrics import BatchRowCount
        from great_expectations.metrics.batch.batch_column_types import BatchColumnTypes

        try:
            batch = self._definition.get_batch(batch_parameters=dict(self._parameters) if self._parameters else None)
            rows, types = batch.compute_metrics([BatchRowCount(), BatchColumnTypes()])
        except (GreatExpectationsError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise PermanentAdapterError(f"the batch {self.name} cannot be had: {said}") from error
        columns = {str(column.name): str(column.type) for column in types.value}
        return TableFacts(rows=int(rows.value), columns=columns)


def batch_of_spark_frame(frame: Any) -> GreatExpectationsBatchBackend:
    """Return what evaluates expectations on a frame of Spark, where Spark keeps it."""
    with quiet_library():
        source = ephemeral_context().data_sources.add_spark("spark", persist=False)
        definition = source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")
    return GreatExpectationsBatchBackend(definition, {"dataframe": frame})
