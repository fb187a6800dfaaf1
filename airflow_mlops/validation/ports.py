"""What validation needs from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from airflow_mlops.validation.report import RuleResult
from airflow_mlops.validation.spec import SuiteSpec

__all__ = ["ValidationBackend"]


class ValidationBackend(Protocol):
    """Evaluates rules on the rows of a file or directory."""

    def validate(
        self,
        frame_path: Path,
        suite: SuiteSpec,
        *,
        format: str = "parquet",  # noqa: A002 - the word that references use
        example_rows: int = 5,
    ) -> tuple[RuleResult, ...]:
        """Evaluate every rule of the suite.

        :param frame_path: the rows: a file, or a directory of files
        :param suite: the rules
        :param format: ``parquet`` or ``csv``
        :param example_rows: at most how many distinct unexpected values a result shows; 0 shows no value of any row
        :return: one result per rule, in the suite's order
        :raises SpecificationError: if a rule's type or arguments are not the backend's
        """
        ...

    def broken_rows(
        self,
        frame_path: Path,
        suite: SuiteSpec,
        positions: Collection[int],
        *,
        format: str = "parquet",  # noqa: A002 - the word that references use
    ) -> Mapping[int, Sequence[int]]:
        """Find the rows that break rules.

        :param frame_path: the rows: a file, or a directory of files
        :param suite: the rules
        :param positions: which rules, by their position in the suite; :meth:`validate` counted broken rows of each
        :param format: ``parquet`` or ``csv``
        :return: position of a rule to positions of rows, counted from 0 over all files in their order
        :raises ContractError: if a rule's rows cannot be told
        """
        ...
