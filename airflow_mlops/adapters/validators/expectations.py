"""Expectations of Great Expectations, strict where the library is lenient.

The library drops expectations that it does not know and calls an empty suite a success. Here every declared rule is
evaluated or the suite is refused; an exception inside a rule is an error of that rule, not a broken rule.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.validation.report import RuleResult, UnexpectedValue, without_values
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec, check_rule_types

__all__ = ["Run", "broken_rows", "ephemeral_context", "evaluate", "quiet_library", "run_suite"]

#: Evaluates expectations in one pass, in a result format: position of a rule to outcome.
Run = Callable[[Sequence[Any], Mapping[str, Any]], dict[int, dict[str, Any]]]

_KEY = "rule"
_LONGEST_VALUE = 80
_LONGEST_OBSERVED = 400
#: How many broken rows of a rule are asked for, to find distinct examples among them; the library may give fewer.
_SAMPLED_ROWS = 200
_LIBRARY = "great_expectations"
#: Rules whose observed value is one of the rows', or several.
_OBSERVES_VALUES = ("column_max", "column_min", "median", "quantile", "most_common", "distinct_values_to")


@contextmanager
def quiet_library() -> Iterator[None]:
    """Keep the library's hundreds of log lines and its own deprecation warnings out of the task log.

    Some of its modules set a level of their own, so every logger of the library is lifted.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
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


def ephemeral_context() -> Any:
    """Return a context that keeps nothing and draws no progress bars."""
    context = _library().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def evaluate(
    suite: SuiteSpec, load: Callable[[], tuple[Collection[str], Run]], *, example_rows: int
) -> tuple[RuleResult, ...]:
    """Evaluate every rule of a suite.

    :param suite: the rules; their types are names of expectations
    :param load: gives the columns that are there, and what runs expectations on the rows; called once it is known that
        every rule is one
    :param example_rows: at most how many distinct unexpected values a result shows; 0 shows none
    :raises SpecificationError: on an unknown expectation (with the nearest name) or wrong arguments
    """
    if example_rows < 0:
        raise SpecificationError("example_rows", example_rows, "0 or more")
    check_rule_types(suite, _rule_types())
    expectations = [_expectation(suite, position) for position in range(len(suite.rules))]
    columns, run = load()
    missing = {position: _missing(rule, columns) for position, rule in enumerate(suite.rules)}
    possible = [item for position, item in enumerate(expectations) if not missing[position]]
    # Index columns are never asked for: they cost a Python object per broken row.
    form = {"result_format": "SUMMARY", "partial_unexpected_count": _SAMPLED_ROWS if example_rows else 0}
    outcomes = run(possible, form) if possible else {}
    return tuple(
        _absent(rule, missing[position]) if missing[position] else _result(rule, outcomes[position], example_rows)
        for position, rule in enumerate(suite.rules)
    )


def broken_rows(suite: SuiteSpec, positions: Collection[int], run: Run) -> dict[int, list[int]]:
    """Find the rows that break the rules at these positions of the suite.

    :raises ContractError: if the library does not tell all rows that it counts
    """
    expectations = [_expectation(suite, position) for position in positions]
    outcomes = run(expectations, {"result_format": "COMPLETE", "include_unexpected_rows": False})
    return {position: _rows(suite.rules[position], outcomes[position]) for position in positions}


def run_suite(
    definition: Any,
    parameters: Mapping[str, Any] | None,
    name: str,
    expectations: Sequence[Any],
    form: Mapping[str, Any],
) -> dict[int, dict[str, Any]]:
    """Validate a batch in one pass; each expectation has exactly one outcome.

    The batch is fetched once: the library reads all values of a frame to give it an identifier, so whoever fetches the
    batch and then validates it pays that twice.

    :param definition: the ``BatchDefinition``
    :param parameters: which batch of it
    :raises ContractError: if the library kept or evaluated fewer rules than were declared
    """
    suite = _library().ExpectationSuite(name=name, expectations=list(expectations))
    if len(suite.expectations) != len(expectations):
        raise ContractError(
            f"suite {name!r}: {len(expectations)} rules were declared, but the engine kept {len(suite.expectations)}"
        )
    from great_expectations.validator.v1_validator import Validator

    validator = Validator(
        batch_definition=definition,
        batch_parameters=dict(parameters) if parameters else None,
        result_format=dict(form),
    )
    results = validator.validate_expectation_suite(suite).to_json_dict()["results"]
    return outcomes_of(name, expectations, results)


def outcomes_of(name: str, expectations: Sequence[Any], results: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Give each result back to its rule.

    :raises ContractError: if a rule has no result
    """
    outcomes = {int(result["expectation_config"]["meta"][_KEY]): result for result in results}
    if len(outcomes) != len(expectations) or len(results) != len(expectations):
        raise ContractError(f"suite {name!r}: {len(outcomes)} of {len(expectations)} rules were evaluated")
    return outcomes


def raised(outcome: Mapping[str, Any]) -> bool:
    """Whether an exception kept a rule from being evaluated."""
    return _exception(outcome) is not None


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


def _missing(rule: RuleSpec, columns: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in rule.columns if name not in columns) if rule.needs_columns else ()


def _absent(rule: RuleSpec, columns: tuple[str, ...]) -> RuleResult:
    names = ", ".join(repr(name) for name in columns)
    noun = "column" if len(columns) == 1 else "columns"
    return RuleResult(rule=rule, passed=None, error=f"the {noun} {names} is missing", missing_columns=columns)


def _result(rule: RuleSpec, outcome: Mapping[str, Any], example_rows: int) -> RuleResult:
    error = _exception(outcome)
    if error is not None:
        return RuleResult(rule=rule, passed=None, error=error if example_rows else without_values(error, rule))
    found = outcome.get("result") or {}
    observed, is_value = _observed(rule, found)
    return RuleResult(
        rule=rule,
        passed=bool(outcome["success"]),
        rows=found.get("element_count"),
        unexpected_count=found.get("unexpected_count"),
        examples=_examples(found, example_rows),
        first_rows=tuple(int(row) for row in (found.get("partial_unexpected_index_list") or ())[:example_rows]),
        observed=None if is_value and not example_rows else observed,
        observed_is_value=is_value,
    )


def _rows(rule: RuleSpec, outcome: Mapping[str, Any]) -> list[int]:
    found = outcome.get("result") or {}
    listed = found.get("unexpected_index_list")
    error = _exception(outcome)
    if error is not None or listed is None or len(listed) != found.get("unexpected_count"):
        said = f": {without_values(error, rule)}" if error else ""
        raise ContractError(f"{rule.label}: the rows that break it cannot be told{said}")
    return [int(row) for row in listed]


def _exception(outcome: Mapping[str, Any]) -> str | None:
    """First exception of a result: the library gives either one record or a record per failed metric."""
    info = outcome.get("exception_info") or {}
    records = [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, Mapping)]
    for record in records:
        if record.get("raised_exception"):
            said = str(record.get("exception_message") or "an exception without a message").split("[SQL:")[0]
            return " ".join(said.split())[:_LONGEST_OBSERVED] or "an exception without a message"
    return None


def _examples(found: Mapping[str, Any], limit: int) -> tuple[UnexpectedValue, ...]:
    """Return distinct unexpected values, the most frequent first; a missing value is no example of anything."""
    listed = found.get("partial_unexpected_list") or ()
    exact = len(listed) == found.get("unexpected_count")
    sampled = [value for value in listed if not _is_missing(value)]
    frequent = Counter(_text(value) for value in sampled).most_common(limit)
    return tuple(UnexpectedValue(value=value, count=count if exact else None) for value, count in frequent)


def _observed(rule: RuleSpec, found: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Describe what was measured, and say whether that shows values of rows."""
    value = found.get("observed_value")
    details = found.get("details") or {}
    mismatch = details.get("mismatched") if isinstance(details, Mapping) else None
    if mismatch:
        return "; ".join(f"{kind}: {_json(names)}" for kind, names in mismatch.items())[:_LONGEST_OBSERVED], False
    is_value = isinstance(value, (list, dict)) or any(word in rule.type for word in _OBSERVES_VALUES)
    if value is None:
        return None, False
    text = f"{value:.6g}" if isinstance(value, float) else _json(value)[:_LONGEST_OBSERVED]
    return text, is_value


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN is the value that differs from itself


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
