"""What a task read, made and found out, as OpenLineage tells it; nothing here knows its classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_mlops.governance.flows import Flow, Kind
from airflow_mlops.governance.lineage_nodes import Node, Place, named

__all__ = ["Assertion", "Dataflow", "dataflow_of"]

#: Roles of evidence's references, and what they name.
_ROLES: Mapping[str, Kind] = {
    "candidate": "model",
    "champion": "model",
    "dataset": "data",
    "datasets": "data",
    "evaluation": "file",
    "model": "model",
    "stable": "model",
}


@dataclass(frozen=True, kw_only=True)
class Assertion:
    """What a rule said of the data.

    :param kept: whether the data keep it; None if that could not be found out
    :param blocks: whether a breach keeps the data from being used
    :param column: the one column that it is about, None for several or none
    """

    rule: str
    name: str
    kept: bool | None
    blocks: bool
    column: str | None
    expected: float | None
    actual: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Dataflow:
    """A task in a lineage graph.

    :param inputs: what it read
    :param outputs: what it made
    :param assertions: what a validation found of the data that it read
    """

    inputs: tuple[Node, ...] = ()
    outputs: tuple[Node, ...] = ()
    assertions: tuple[Assertion, ...] = ()


def dataflow_of(
    flow: Flow,
    *,
    fields: Mapping[str, Any],
    result: Any = None,
    evidence: Iterable[Any] = (),
    places: Mapping[str, Place] | None = None,
) -> Dataflow:
    """Return what a task read and made.

    :param flow: which of its fields and results name what
    :param fields: its rendered fields
    :param result: what it returned, None if it has not
    :param evidence: the decisions that it recorded
    :param places: where connections lead; what lies where none is known is left out
    """
    known, decisions = places or {}, tuple(evidence)
    read = [*named(flow.fields, fields, fields, known), *named(flow.read, result, fields, known)]
    for document in decisions:
        read += named(_ROLES, document.references, fields, known)
    inputs = _merged(read)
    made = [
        replace(node, metrics=_numbers(result)) if node.kind == "model" and node.version is None else node
        for node in named(flow.made, result, fields, known)
    ]
    there = {(node.namespace, node.name) for node in inputs}
    outputs = tuple(node for node in _merged(made) if (node.namespace, node.name) not in there)
    return Dataflow(inputs=inputs, outputs=outputs, assertions=tuple(_assertions(decisions)))


def _numbers(result: Any) -> dict[str, float]:
    metrics = result.get("metrics") if isinstance(result, Mapping) else None
    given = metrics if isinstance(metrics, Mapping) else {}
    return {str(name): float(value) for name, value in given.items() if isinstance(value, (int, float))}


def _merged(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return each place once, as whoever knows its digest tells of it."""
    found: dict[tuple[str, str], Node] = {}
    for node in nodes:
        key = node.namespace, node.name
        if key not in found or (found[key].digest is None and node.digest is not None):
            found[key] = node
    return tuple(found.values())


def _assertions(evidence: Iterable[Any]) -> Iterator[Assertion]:
    # After a quarantine the good rows are judged again; what counts for the data that were read comes first.
    first = next((document for document in evidence if document.decision == "validation"), None)
    for check in first.checks if first is not None else ():
        columns: Sequence[Any] = check.details.get("columns") or []
        yield Assertion(
            rule=str(check.details.get("type") or check.name),
            name=check.name,
            kept=check.details.get("kept", check.verdict.promotes),
            blocks=check.details.get("severity", "critical") == "critical",
            column=str(columns[0]) if len(columns) == 1 else None,
            expected=check.threshold,
            actual=check.value,
            reason=check.reason,
        )
