"""Great Expectations on rows in files, loaded into pandas."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.adapters.validators.expectations import (
    Run,
    broken_rows,
    ephemeral_context,
    evaluate,
    quiet_library,
    run_suite,
)
from airflow_mlops.validation.report import RuleResult
from airflow_mlops.validation.spec import SuiteSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GreatExpectationsBackend"]


class GreatExpectationsBackend:
    """Evaluates expectations on a table loaded into pandas.

    :param load_frame: loads the rows at a path in a format
    """

    def __init__(self, load_frame: Callable[[Path, str], pd.DataFrame]) -> None:
        self._load_frame = load_frame

    def validate(
        self,
        frame_path: Path,
        suite: SuiteSpec,
        *,
        format: str = "parquet",  # noqa: A002 - the word that references use
        example_rows: int = 5,
    ) -> tuple[RuleResult, ...]:
        """Evaluate every rule of the suite on the rows of a file or directory.

        :param frame_path: the rows
        :param suite: the rules; their types are names of expectations
        :param format: ``parquet`` or ``csv``
        :param example_rows: at most how many distinct unexpected values a result shows; 0 shows none
        :raises SpecificationError: on an unknown expectation (with the nearest name) or wrong arguments
        """

        def load() -> tuple[Collection[str], Run]:
            frame = self._load_frame(frame_path, format)
            return list(frame.columns), _runner(frame, suite.name)

        with quiet_library():
            return evaluate(suite, load, example_rows=example_rows)

    def broken_rows(
        self,
        frame_path: Path,
        suite: SuiteSpec,
        positions: Collection[int],
        *,
        format: str = "parquet",  # noqa: A002 - the word that references use
    ) -> dict[int, list[int]]:
        """Find the rows that break the rules at these positions of the suite.

        :raises ContractError: if the library does not tell all rows that it counts
        """
        with quiet_library():
            return broken_rows(suite, positions, _runner(self._load_frame(frame_path, format), suite.name))


def _runner(frame: pd.DataFrame, name: str) -> Run:
    def run(expectations: Sequence[Any], form: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        context = ephemeral_context()
        asset = context.data_sources.add_pandas("memory").add_dataframe_asset("rows")
        definition = asset.add_batch_definition_whole_dataframe("all")
        return run_suite(definition, {"dataframe": frame}, name, expectations, form)

    return run
