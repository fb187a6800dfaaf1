"""What a function returns as a suite or as data, when it is written with the classes of Great Expectations or pandas.

These are the functions ``configure_expectations``, ``configure_dataframe`` and ``configure_batch_definition`` of
Airflow's provider for Great Expectations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from airflow_mlops.adapters.validators.expectations import ephemeral_context, quiet_library
from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["call_declared", "data_kind", "suite_document", "write_frame"]

DataKind = Literal["pandas", "spark", "batch", "mapping"]


def call_declared(function: Callable[..., Any], *, field: str) -> Any:
    """Call a function with a context of Great Expectations, or with nothing if it takes nothing.

    :param field: name of the operator's argument, for messages
    :raises SpecificationError: if it wants more than one argument
    """
    parameters = inspect.signature(function).parameters.values()
    required = [
        one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if len(required) > 1 or any(one.kind is one.KEYWORD_ONLY for one in required):
        raise SpecificationError(
            field, getattr(function, "__name__", function), "a function without arguments, or with one: the context"
        )
    if not required:
        return function()
    with quiet_library():
        return function(ephemeral_context())


def suite_document(returned: Any, *, name: str) -> Mapping[str, Any]:
    """Turn what a function returned into a suite's document, with a rule for every expectation.

    :param returned: a mapping, an ``ExpectationSuite``, an ``Expectation`` or a list of these
    :param name: what the suite is called where it has no name
    :raises SpecificationError: if it is something else
    """
    if isinstance(returned, Mapping):
        return returned
    with quiet_library():
        from great_expectations import ExpectationSuite
        from great_expectations.expectations.expectation import Expectation

        accepted = "a mapping, an ExpectationSuite, an Expectation or a list of Expectations"
        if isinstance(returned, ExpectationSuite):
            document: dict[str, Any] = returned.to_json_dict()
            declared = len(returned.expectations)
        else:
            several = list(returned) if isinstance(returned, Sequence) and not isinstance(returned, str) else [returned]
            if not all(isinstance(one, Expectation) for one in several):
                raise SpecificationError("suite", type(returned).__name__, accepted)
            document = {"name": name, "expectations": [one.configuration.to_json_dict() for one in several]}
            declared = len(several)
    kept = len(document["expectations"])
    if kept != declared:
        raise ContractError(f"suite {name!r}: {declared} expectations were declared, but {kept} were kept")
    return document


def data_kind(returned: Any) -> DataKind | None:
    """Say what a function returned as data, None if it is nothing that can be judged."""
    if isinstance(returned, Mapping):
        return "mapping"
    kinds = {cls.__module__.split(".")[0]: cls.__name__ for cls in type(returned).__mro__}
    if kinds.get("pandas") and hasattr(returned, "columns"):
        return "pandas"
    if kinds.get("pyspark") and hasattr(returned, "schema"):
        return "spark"
    if "great_expectations" in kinds and hasattr(returned, "get_batch"):
        return "batch"
    return None


def write_frame(frame: Any, file: Path) -> None:
    """Write a frame of pandas as Parquet.

    :raises SpecificationError: if a column holds what Parquet cannot keep
    """
    import pyarrow as pa

    try:
        frame.to_parquet(file)
    except (pa.ArrowException, ValueError, TypeError) as error:
        said = " ".join(str(error).split())[:300]
        raise SpecificationError("dataset", type(frame).__name__, f"columns of one type each: {said}") from error
