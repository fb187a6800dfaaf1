"""Great Expectations as the engine of validation, strict where the library is lenient.

The library drops expectations that it does not know and calls an empty suite a success. Here every declared rule is
evaluated or the suite is refused.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.validation.report import RuleResult, UnexpectedValue
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec, check_rule_types

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GreatExpectationsBackend"]

_KEY = "rule"
_LONGEST_VALUE = 80
_LONGEST_OBSERVED = 400
#: How many broken rows of a rule are asked for, to find distinct examples among them; the library may give fewer.
_SAMPLED_ROWS = 200
_LIBRARY = "great_expectations"


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
        if example_rows < 0:
            raise SpecificationError("example_rows", example_rows, "0 or more")
        with _quiet_library():
            check_rule_types(suite, _rule_types())
            expectations = [_expectation(suite, position) for position in range(len(suite.rules))]
            frame = self._load_frame(frame_path, format)
            missing = {position: _missing(rule, frame) for position, rule in enumerate(suite.rules)}
            possible = [item for position, item in enumerate(expectations) if not missing[position]]
            # Index columns are never asked for: they cost a Python object per broken row.
            form = {"result_format": "SUMMARY", "partial_unexpected_count": _SAMPLED_ROWS if example_rows else 0}
            outcomes = _run(frame, suite.name, possible, form) if possible else {}
        return tuple(
            _absent(rule, missing[position]) if missing[position] else _result(rule, outcomes[position], example_rows)
            for position, rule in enumerate(suite.rules)
        )

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
        with _quiet_library():
            expectations = [_expectation(suite, position) for position in positions]
            frame = self._load_frame(frame_path, format)
            form = {"result_format": "COMPLETE", "include_unexpected_rows": False}
            outcomes = _run(frame, suite.name, expectations, form)
        return {position: _rows(suite.rules[position], outcomes[position]) for position in positions}


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keep the library's hundreds of log lines and its own deprecation warnings out of the task log.

    Some of its modules set a level of their own, so every logger of the library is lifted.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _library()
        names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == _LIBRARY]
        loggers = [logging.getLogger(name) for name in {_LIBRARY, *names}]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(max(logger.level, logging.WARNING))
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _library() -> Any:
    try:
        import great_expectations
    except ModuleNotFoundError as error:
        raise PermanentAdapterError(
            f"validation needs {error.name}, which is not installed; install airflow-mlops[validation]"
        ) from error
    return great_expectations


def _rule_types() -> frozenset[str]:
    _library()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return frozenset(list_registered_expectation_implementations())


def _expectation(suite: SuiteSpec, position: int) -> Any:
    """Build one expectation; it carries its position so that results find their rule again."""
    from great_expectations.expectations.registry import get_expectation_impl

    rule = suite.rules[position]
    implementation = get_expectation_impl(rule.type)
    try:
        return implementation(**rule.kwargs, severity=rule.severity, meta={_KEY: position})
    except (TypeError, ValueError) as error:
        problem = " ".join(str(error).split())[:300]
        raise SpecificationError(
            f"{suite.name}.rules[{position}].kwargs", dict(rule.kwargs), f"arguments of {rule.type}: {problem}"
        ) from error


def _missing(rule: RuleSpec, frame: pd.DataFrame) -> tuple[str, ...]:
    if not rule.needs_columns:
        return ()
    return tuple(name for name in rule.columns if name not in frame.columns)


def _run(
    frame: pd.DataFrame, name: str, expectations: Sequence[Any], form: Mapping[str, Any]
) -> dict[int, dict[str, Any]]:
    """Validate in one pass and return position to outcome; each expectation has exactly one."""
    gx = _library()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("rows")
    definition = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=list(expectations)))
    if len(suite.expectations) != len(expectations):
        raise ContractError(
            f"suite {name!r}: {len(expectations)} rules were declared, but the engine kept {len(suite.expectations)}"
        )
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    results = batch.validate(suite, result_format=dict(form)).to_json_dict()["results"]
    outcomes = {int(result["expectation_config"]["meta"][_KEY]): result for result in results}
    if len(outcomes) != len(expectations) or len(results) != len(expectations):
        raise ContractError(f"suite {name!r}: {len(outcomes)} of {len(expectations)} rules were evaluated")
    return outcomes


def _absent(rule: RuleSpec, columns: tuple[str, ...]) -> RuleResult:
    names = ", ".join(repr(name) for name in columns)
    noun = "column" if len(columns) == 1 else "columns"
    return RuleResult(rule=rule, passed=None, error=f"the {noun} {names} is missing", missing_columns=columns)


def _result(rule: RuleSpec, outcome: Mapping[str, Any], example_rows: int) -> RuleResult:
    error = _exception(outcome.get("exception_info") or {})
    if error is not None:
        return RuleResult(rule=rule, passed=None, error=error)
    found = outcome.get("result") or {}
    return RuleResult(
        rule=rule,
        passed=bool(outcome["success"]),
        rows=found.get("element_count"),
        unexpected_count=found.get("unexpected_count"),
        examples=_examples(found, example_rows),
        first_rows=tuple(int(row) for row in (found.get("partial_unexpected_index_list") or ())[:example_rows]),
        observed=_observed(found, show_values=example_rows > 0),
    )


def _rows(rule: RuleSpec, outcome: Mapping[str, Any]) -> list[int]:
    found = outcome.get("result") or {}
    listed = found.get("unexpected_index_list")
    error = _exception(outcome.get("exception_info") or {})
    if error is not None or listed is None or len(listed) != found.get("unexpected_count"):
        raise ContractError(f"{rule.label}: the rows that break it cannot be told{f': {error}' if error else ''}")
    return [int(row) for row in listed]


def _exception(info: Mapping[str, Any]) -> str | None:
    """First exception of a result: the library gives either one record or a record per failed metric."""
    records = [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, Mapping)]
    for record in records:
        if record.get("raised_exception"):
            return str(record.get("exception_message") or "an exception without a message").strip()[:_LONGEST_OBSERVED]
    return None


def _examples(found: Mapping[str, Any], limit: int) -> tuple[UnexpectedValue, ...]:
    """Return distinct unexpected values, the most frequent first; a missing value is no example of anything."""
    listed = found.get("partial_unexpected_list") or ()
    exact = len(listed) == found.get("unexpected_count")
    sampled = [value for value in listed if not _is_missing(value)]
    frequent = Counter(_text(value) for value in sampled).most_common(limit)
    return tuple(UnexpectedValue(value=value, count=count if exact else None) for value, count in frequent)


def _observed(found: Mapping[str, Any], *, show_values: bool) -> str | None:
    """Describe what was measured; lists of values are values of rows and obey the same switch as examples."""
    value = found.get("observed_value")
    details = found.get("details") or {}
    mismatch = details.get("mismatched") if isinstance(details, Mapping) else None
    if mismatch:
        return "; ".join(f"{kind}: {_json(names)}" for kind, names in mismatch.items())[:_LONGEST_OBSERVED]
    if value is None or (isinstance(value, (list, dict)) and not show_values):
        return None
    if isinstance(value, float):
        return f"{value:.6g}"
    return _json(value)[:_LONGEST_OBSERVED]


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN is the value that differs from itself


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
