"""What governance needs from the outside."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from airflow_mlops.governance.versions import ModelVersion
from airflow_mlops.references import ModelRef

__all__ = ["ModelRegistry"]


class ModelRegistry(Protocol):
    """Keeps versions of models and the aliases ``champion`` and ``challenger``."""

    def register(
        self,
        name: str,
        model: ModelRef,
        files: Path,
        *,
        idempotency_key: str,
        lineage: Mapping[str, str],
        metrics: Mapping[str, float],
        run_id: str | None = None,
    ) -> ModelVersion:
        """Add a version; a repetition with the same key returns the version that the first call made.

        :param files: local directory with the model's verified files
        :param lineage: tags that say where the version comes from
        :param metrics: name to value, logged with the version's run
        :param run_id: the tracking run that trained the model; None opens one for the registration
        """
        ...

    def version(self, name: str, version: str) -> ModelVersion:
        """Look a version up.

        :raises PermanentAdapterError: if there is none; the message names those that exist
        """
        ...

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that an alias names, None if the model or the alias does not exist."""
        ...

    def exclusive(self, name: str) -> AbstractContextManager[None]:
        """Keep every other process and thread from moving the model's aliases, for a few requests.

        The same thread may ask again within.

        :param name: a model that has versions
        :raises TransientAdapterError: if somebody else does not come to an end; nothing was changed
        """
        ...

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move an alias; nothing happens if it is there already.

        :param expected: the version that it names now, None for no version
        :raises StaleWriteError: if it names another
        """
        ...

    def remove_alias(self, name: str, alias: str, *, expected: str) -> None:
        """Remove an alias; nothing happens if it is gone already.

        :raises StaleWriteError: if it names another version than ``expected``
        """
        ...

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or change them."""
        ...
