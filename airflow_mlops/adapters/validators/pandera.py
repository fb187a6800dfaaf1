"""pandera as the engine of validation: cheap checks of schema and rows, in the words of the same suites.

It has the rules below and no others. A rule means here what it means with Great Expectations: missing values break
only ``expect_column_values_to_not_be_null``, and ``mostly`` is the least share of the other values that must keep it.
Text rules want text: on numbers they cannot be evaluated.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.validation.report import RuleResult, UnexpectedValue
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PanderaBackend"]

_LONGEST_VALUE = 80
_LONGEST_OBSERVED = 400


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pandera.pandas
    except ModuleNotFoundError as error:
        raise PermanentAdapterError(
            f"the backend pandera needs {error.name}, which is not installed; install airflow-mlops[pandera]"
        ) from error
    return pandera.pandas


# ---- rules about rows: arguments, and the check of the library that judges every value


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Arguments of every rule about the values of a column."""

    column: str
    mostly: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.mostly <= 1:
            raise SpecificationError("mostly", self.mostly, "a share between 0 and 1")

    def check(self) -> Any:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class _NotNull(_Rows):
    def check(self) -> Any:
        return _library().Check(lambda values: values.notna(), ignore_na=False)


@dataclass(frozen=True, kw_only=True)
class _Unique(_Rows):
    def check(self) -> Any:
        return _library().Check(lambda values: ~values.duplicated(keep=False))


@dataclass(frozen=True, kw_only=True)
class _Between(_Rows):
    min_value: Any = None
    max_value: Any = None
    strict_min: bool = False
    strict_max: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_value is None and self.max_value is None:
            raise SpecificationError("min_value", None, "a bound: min_value, max_value or both")

    def check(self) -> Any:
        kind, low, high = _library().Check, self.min_value, self.max_value
        if high is None:
            return kind.gt(low) if self.strict_min else kind.ge(low)
        if low is None:
            return kind.lt(high) if self.strict_max else kind.le(high)
        return kind.in_range(low, high, include_min=not self.strict_min, include_max=not self.strict_max)


@dataclass(frozen=True, kw_only=True)
class _InSet(_Rows):
    value_set: Sequence[Any]

    def check(self) -> Any:
        return _library().Check.isin(list(self.value_set))


@dataclass(frozen=True, kw_only=True)
class _NotInSet(_Rows):
    value_set: Sequence[Any]

    def check(self) -> Any:
        return _library().Check.notin(list(self.value_set))


@dataclass(frozen=True, kw_only=True)
class _Matches(_Rows):
    regex: str

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.regex)
        except re.error as error:
            raise SpecificationError("regex", self.regex, f"a regular expression: {error}") from error

    def check(self) -> Any:
        return _library().Check.str_contains(self.regex)


@dataclass(frozen=True, kw_only=True)
class _Lengths(_Rows):
    min_value: int | None = None
    max_value: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_value is None and self.max_value is None:
            raise SpecificationError("min_value", None, "a bound: min_value, max_value or both")

    def check(self) -> Any:
        return _library().Check.str_length(self.min_value, self.max_value)


@dataclass(frozen=True, kw_only=True)
class _LengthIs(_Rows):
    value: int

    def check(self) -> Any:
        return _library().Check.str_length(self.value, self.value)


# ---- rules about the table: arguments, and what is wrong with the frame


@dataclass(frozen=True, kw_only=True)
class _Exists:
    column: str

    def judge(self, frame: pd.DataFrame) -> tuple[bool, str | None]:
        return self.column in frame.columns, None


@dataclass(frozen=True, kw_only=True)
class _Columns:
    column_set: Sequence[str]
    exact_match: bool = True

    def judge(self, frame: pd.DataFrame) -> tuple[bool, str | None]:
        missing = [name for name in self.column_set if name not in frame.columns]
        others = [str(name) for name in frame.columns if name not in self.column_set] if self.exact_match else []
        wrong = {"missing": missing, "unexpected": others}
        said = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
        return not said, said or None


@dataclass(frozen=True, kw_only=True)
class _RowCount:
    min_value: int | None = None
    max_value: int | None = None

    def __post_init__(self) -> None:
        if self.min_value is None and self.max_value is None:
            raise SpecificationError("min_value", None, "a bound: min_value, max_value or both")

    def judge(self, frame: pd.DataFrame) -> tuple[bool, str | None]:
        enough = self.min_value is None or len(frame) >= self.min_value
        return enough and (self.max_value is None or len(frame) <= self.max_value), str(len(frame))


@dataclass(frozen=True, kw_only=True)
class _OfType:
    column: str
    type_: str

    def judge(self, frame: pd.DataFrame) -> tuple[bool, str | None]:
        engine = _engine()
        found = frame[self.column].dtype
        return bool(engine.dtype(self.type_).check(engine.dtype(found))), str(found)


_RULES: Mapping[str, type[Any]] = {
    "expect_column_to_exist": _Exists,
    "expect_column_value_lengths_to_be_between": _Lengths,
    "expect_column_value_lengths_to_equal": _LengthIs,
    "expect_column_values_to_be_between": _Between,
    "expect_column_values_to_be_in_set": _InSet,
    "expect_column_values_to_be_of_type": _OfType,
    "expect_column_values_to_be_unique": _Unique,
    "expect_column_values_to_match_regex": _Matches,
    "expect_column_values_to_not_be_in_set": _NotInSet,
    "expect_column_values_to_not_be_null": _NotNull,
    "expect_table_columns_to_match_set": _Columns,
    "expect_table_row_count_to_be_between": _RowCount,
}


class PanderaBackend:
    """Evaluates rules on a table loaded into pandas.

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

        :raises SpecificationError: on a rule that is not among those of this backend, or on wrong arguments
        """
        if example_rows < 0:
            raise SpecificationError("example_rows", example_rows, "0 or more")
        rules = [_parsed(suite, position) for position in range(len(suite.rules))]
        frame = self._load_frame(frame_path, format)
        return tuple(
            _evaluate(rule, parsed, frame, example_rows) for rule, parsed in zip(suite.rules, rules, strict=True)
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

        :raises ContractError: if a rule is about the table, or cannot be evaluated
        """
        rules = {position: _parsed(suite, position) for position in positions}
        frame = self._load_frame(frame_path, format)
        found = {}
        for position, parsed in rules.items():
            try:
                found[position] = [int(row) for row in _kept(parsed, frame).pipe(lambda kept: kept.index[~kept])]
            except (AttributeError, TypeError, ValueError, KeyError) as error:
                label = suite.rules[position].label
                raise ContractError(f"{label}: the rows that break it cannot be told: {error}") from error
        return found


def _parsed(suite: SuiteSpec, position: int) -> Any:
    """Read a rule's arguments, strictly."""
    rule, where = suite.rules[position], f"{suite.name}.rules[{position}]"
    kind = _RULES.get(rule.type)
    if kind is None:
        names = ", ".join(_RULES)
        raise SpecificationError(f"{where}.type", rule.type, f"a rule of the backend 'pandera', which has {names}")
    try:
        parsed = decode(kind, rule.kwargs, where=f"{where}.kwargs")
    except SpecificationError as error:
        if error.field.startswith(where):
            raise
        raise SpecificationError(f"{where}.kwargs.{error.field}", error.value, error.accepted) from error
    if isinstance(parsed, _OfType):
        try:
            _engine().dtype(parsed.type_)
        except TypeError as error:
            raise SpecificationError(f"{where}.kwargs.type_", parsed.type_, "a type of pandas") from error
    return parsed


def _engine() -> Any:
    _library()
    from pandera.engines.pandas_engine import Engine

    return Engine


def _evaluate(rule: RuleSpec, parsed: Any, frame: pd.DataFrame, example_rows: int) -> RuleResult:
    missing = tuple(name for name in rule.columns if name not in frame.columns) if rule.needs_columns else ()
    if missing:
        return RuleResult(
            rule=rule, passed=None, error=f"the column {missing[0]!r} is missing", missing_columns=missing
        )
    if not isinstance(parsed, _Rows):
        passed, observed = parsed.judge(frame)
        return RuleResult(rule=rule, passed=passed, observed=observed and observed[:_LONGEST_OBSERVED])
    try:
        kept = _kept(parsed, frame)
    except (AttributeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        return RuleResult(rule=rule, passed=None, error=said[:_LONGEST_OBSERVED])
    broken = kept.index[~kept]
    return RuleResult(
        rule=rule,
        passed=not len(kept) or (len(kept) - len(broken)) / len(kept) >= parsed.mostly,
        rows=len(frame),
        unexpected_count=len(broken),
        examples=_examples(frame[parsed.column].loc[broken], example_rows),
        first_rows=tuple(int(row) for row in broken[:example_rows]),
    )


def _kept(parsed: _Rows, frame: pd.DataFrame) -> pd.Series[bool]:
    """Judge every value that the rule is about: row number to whether it keeps the rule."""
    output = parsed.check()(frame[parsed.column]).check_output
    if not hasattr(output, "index"):
        raise ValueError(f"the library gave {type(output).__name__} where it should have judged each row")
    judged: pd.Series[bool] = output.astype(bool)
    return judged


def _examples(values: pd.Series[Any], limit: int) -> tuple[UnexpectedValue, ...]:
    """Return distinct unexpected values, the most frequent first; a missing value is no example of anything."""
    counts = values.dropna().value_counts().head(limit)
    return tuple(UnexpectedValue(value=_text(value), count=int(count)) for value, count in counts.items())


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
