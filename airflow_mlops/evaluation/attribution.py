"""Effects of columns on rows: what every method of explanation gives."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import ContractError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Diagnosed

__all__ = ["REQUIREMENTS", "Attribution", "typed", "typed_column", "wanted_package"]

#: What to install into the environment of the models, beside the trainer's own requirements.
REQUIREMENTS = "docker/trainer/explanations-requirements.txt"


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """How much each column counted in each row.

    :param columns: the columns
    :param effects: numpy array, rows by columns; importance is its mean over the rows
    :param method: how it was found, in words
    :param unit: what importances are
    :param local_unit: what the effects in a single row are
    """

    columns: tuple[str, ...]
    effects: Any
    method: str
    unit: str
    local_unit: str

    @property
    def rows(self) -> int:
        """How many rows were explained: the first ones of those that were asked for."""
        return len(self.effects)

    def first(self, rows: int) -> Attribution:
        """Return the same of fewer rows."""
        return replace(self, effects=self.effects[:rows])


def wanted_package(name: str, section: str, instead: str) -> Any:
    """Import a package that this environment need not have.

    :param section: what asked for it, for the message
    :param instead: what else the user may do
    :raises ContractError: if it is not installed
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ContractError(
            f"{section} needs the package {error.name or name}, which this environment does not have: "
            f"install {REQUIREMENTS} into it, on top of what it holds, or {instead}"
        ) from error


def typed(model: Diagnosed, rows: Any) -> Any:
    """Return the model's columns of a frame, with the types that it was trained on."""
    kinds = {name: _kind(model, name) for name in model.features}
    return rows[list(kinds)].astype(kinds)


def typed_column(model: Diagnosed, rows: Any, name: str) -> Any:
    """Return one of these columns."""
    return rows[name].astype(_kind(model, name))


def _kind(model: Diagnosed, name: str) -> str:
    return "object" if model.features[name] == "string" else "float64"
