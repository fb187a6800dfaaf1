"""What a user asks of a dataset: a suite of rules, usually a YAML file beside the DAG."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.validation.expectation_suite import from_expectation_suite, is_expectation_suite

__all__ = ["Backend", "RuleSpec", "Severity", "SuiteSpec", "check_rule_types", "parse_suite"]

Severity = Literal["critical", "warning", "info"]
Backend = Literal["great_expectations", "pandera"]

_COLUMN_KEYS = ("column", "column_A", "column_B")


@dataclass(frozen=True, kw_only=True)
class RuleSpec:
    """One rule.

    :param type: the rule's type as the validation backend names it, for example ``expect_column_values_to_be_unique``
    :param kwargs: arguments of the rule
    :param severity: what breaking it means: ``critical`` fails the dataset, ``warning`` warns, ``info`` is only noted
    :param because: why the rule is there, one sentence shown in the report
    """

    type: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = "critical"
    because: str = ""

    def __post_init__(self) -> None:
        """Refuse a rule without a type."""
        if not self.type:
            raise SpecificationError("rule.type", self.type, "the name of a rule")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns whose values the rule reads; a rule about the table as a whole has none."""
        single = [self.kwargs[key] for key in _COLUMN_KEYS if key in self.kwargs]
        several = self.kwargs.get("column_list", ())
        return tuple(str(name) for name in (*single, *several))

    @property
    def needs_columns(self) -> bool:
        """Whether the rule can only be evaluated when its columns are there."""
        return bool(self.columns) and self.type != "expect_column_to_exist"

    @property
    def label(self) -> str:
        """The rule in words, for example ``dep_delay: values to be between``."""
        words = self.type.removeprefix("expect_").removeprefix("column_").removeprefix("table_").replace("_", " ")
        return f"{', '.join(self.columns)}: {words}" if self.columns else words


@dataclass(frozen=True, kw_only=True)
class SuiteSpec:
    """A named set of rules.

    :param name: the suite's name
    :param rules: at least one rule; no two of them are equal
    :param backend: what evaluates them; ``pandera`` is quicker and has the most common rules only
    """

    name: str
    rules: tuple[RuleSpec, ...]
    backend: Backend = "great_expectations"

    def __post_init__(self) -> None:
        """Refuse a suite that shows nothing."""
        if not self.name:
            raise SpecificationError("suite.name", self.name, "a non-empty name")
        if not self.rules:
            raise SpecificationError("suite.rules", [], "at least one rule: a suite without rules shows nothing")
        for position, rule in enumerate(self.rules):
            if rule in self.rules[:position]:
                raise SpecificationError(f"suite.rules[{position}]", rule.label, "a rule that is not there already")

    @property
    def digest(self) -> str:
        """``sha256:…`` of the suite's canonical form."""
        return digest_of(encode(self))


def parse_suite(document: Any, *, where: str = "suite") -> SuiteSpec:
    """Read a suite from a mapping, as YAML or JSON gives it.

    :param document: mapping with ``name`` and ``rules``, or Great Expectations' own form with ``name`` and
        ``expectations``, which may be joined by ``backend``
    :param where: where it comes from; errors begin with it
    :raises SpecificationError: on an unknown key (naming the nearest known one), a wrong type or no rules
    """
    if is_expectation_suite(document):
        given = {key: document[key] for key in ("backend",) if key in document}
        document = from_expectation_suite(
            {key: value for key, value in document.items() if key not in given}, where=where
        )
        document |= given
    return decode(SuiteSpec, document, where=where)


def check_rule_types(suite: SuiteSpec, known: Collection[str]) -> None:
    """Refuse a suite with rules that the backend does not have; it would silently check less than was asked for.

    :raises SpecificationError: naming the rule and the nearest known type
    """
    for position, rule in _unknown(suite, known):
        near = difflib.get_close_matches(rule.type, sorted(known), n=1, cutoff=0.5)
        accepted = f"a rule type; did you mean {near[0]!r}?" if near else f"one of {', '.join(sorted(known))}"
        raise SpecificationError(f"{suite.name}.rules[{position}].type", rule.type, accepted)


def _unknown(suite: SuiteSpec, known: Collection[str]) -> Iterator[tuple[int, RuleSpec]]:
    return ((position, rule) for position, rule in enumerate(suite.rules) if rule.type not in known)
