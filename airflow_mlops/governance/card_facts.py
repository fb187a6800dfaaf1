"""What a model card is made of: what its author says, what was measured, what the model needs to run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.codec import decode
from airflow_mlops.evidence import Evidence
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.references import ModelRef

__all__ = [
    "Bill",
    "CardFacts",
    "CardText",
    "Environment",
    "Figure",
    "GroupFigures",
    "Measured",
    "MetricFigures",
    "SliceFigures",
    "read_text",
]

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, kw_only=True)
class CardText:
    """What the model's author says; whatever is not said is shown as missing.

    :param intended_use: what the model is for, and for whom
    :param out_of_scope: what it must not be used for
    :param limits: its limits as the author knows them
    :param contact: whom to ask
    :param license: identifier of the licence as model hubs list them, such as ``apache-2.0``; ``other`` with a name
    :param license_name: what another licence is called
    :param license_link: where another licence can be read
    :param description: what the model is, in a few sentences
    :param tags: words by which a hub finds it
    :param datasets: names under which a hub knows the data, if it does
    :param language: codes of languages, where the model reads or writes text
    """

    intended_use: str | None = None
    out_of_scope: str | None = None
    limits: tuple[str, ...] = ()
    contact: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    language: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a licence that no hub would know."""
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            accepted = (
                "an identifier in small letters such as 'apache-2.0'; 'other' with license_name for one of your own"
            )
            raise SpecificationError("card.license", self.license, accepted)
        if self.license_name and self.license != "other":
            raise SpecificationError("card.license", self.license, "'other' with license_name")


def read_text(given: Mapping[str, Any]) -> CardText:
    """Read what the author says.

    :raises SpecificationError: if a key is unknown, with the nearest that is known, or a value is of the wrong type
    """
    return decode(CardText, given, where="card")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number with its interval.

    :param low: lower bound, None where there is none
    :param high: upper bound, None where there is none
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class MetricFigures:
    """One metric.

    :param candidate: this model
    :param method: how the interval was made
    :param champion: the model that served then, on the same rows
    :param difference: this model minus that one
    """

    name: str
    candidate: Figure
    method: str
    champion: Figure | None = None
    difference: Figure | None = None


@dataclass(frozen=True, kw_only=True)
class SliceFigures:
    """A part of the rows, and metric to figure there."""

    name: str
    rows: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class GroupFigures:
    """How a column's groups are treated.

    :param groups: group to its rows and its rates
    :param gaps: rate to how far the groups lie apart, largest minus smallest
    :param unmeasured: rate to the reason why that is not known
    """

    column: str
    groups: Mapping[str, tuple[int, Mapping[str, Figure]]]
    gaps: Mapping[str, Figure]
    unmeasured: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an evaluation found.

    :param digest: of the evaluation's document, from which every figure here is taken
    :param task: ``classification``, ``regression`` or ``ranking``
    :param confidence: two-sided coverage of the intervals
    :param days: number of groups of rows that are not independent
    :param unmeasured: metric to the reason why there is no figure
    :param small_slices: part to its rows, where they were too few
    """

    digest: str
    task: str
    target: str
    confidence: float
    rows: int
    days: int
    metrics: tuple[MetricFigures, ...]
    slices: tuple[SliceFigures, ...] = ()
    fairness: tuple[GroupFigures, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    small_slices: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What the model needs, None for what nobody says.

    :param requirements: its libraries, each with its exact version
    :param python: version of the interpreter that saved it
    :param inputs: its columns, each as ``name: type``
    :param image: name of the image in which it was trained
    :param image_digest: digest of that image
    :param git_revision: the commit of the code
    """

    requirements: tuple[str, ...] | None = None
    python: str | None = None
    inputs: tuple[str, ...] | None = None
    image: str | None = None
    image_digest: str | None = None
    git_revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A bill of materials: where it lies and what it is about."""

    uri: str
    digest: str
    format: str
    components: int


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """All that a card tells.

    :param documents: the decisions about these files, oldest first, without cards
    :param validations: decisions about the data, in the records of their own subjects
    :param measured: what the newest evaluation found, None if there is none
    """

    model_name: str
    model: ModelRef
    version: str | None
    text: CardText
    documents: tuple[Evidence, ...]
    environment: Environment
    measured: Measured | None = None
    validations: tuple[Evidence, ...] = ()
    bills: tuple[Bill, ...] = ()
