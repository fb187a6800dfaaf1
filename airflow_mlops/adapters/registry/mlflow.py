"""MLflow's model registry."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.adapters.registry.mlflow_lease import LEASE_SECONDS, ModelLease
from airflow_mlops.adapters.registry.mlflow_runs import open_run
from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError, TransientAdapterError
from airflow_mlops.governance.versions import (
    IDEMPOTENCY_KEY,
    ModelVersion,
    check_alias,
    model_from_tags,
    model_tags,
)
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MLflowRegistry"]

#: Folder of the model's files among its run's artefacts.
MODEL_FOLDER = "model"
_UPLOAD_SECONDS = 300


class MLflowRegistry:
    """Keeps model versions in MLflow, with the files as artefacts of a run, so that MLflow's users can load them.

    :param server: the tracking server
    :param lease_seconds: for how long a process that died in the middle of a change keeps others from making theirs
    """

    def __init__(self, server: MLflowServer, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._server = server
        self._lease_seconds = lease_seconds
        self._held = threading.local()

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
        """Add a version; a repetition with the same key returns the version that the first call made."""
        _check_name(name)
        with self._server.session(f"registering {name!r}", timeout_seconds=_UPLOAD_SECONDS) as client:
            known = self._by_key(client, name, idempotency_key)
            if known is not None:
                return known
            own = run_id is None
            run = run_id or open_run(client, name, idempotency_key, name=f"register {name}", tags=lineage)
            self._upload(client, run, files)
            self._log(client, run, metrics)
            self._create_model(client, name)
            client.create_model_version(
                name,
                source=f"{client.get_run(run).info.artifact_uri}/{MODEL_FOLDER}",
                run_id=run,
                tags={**lineage, **model_tags(model), IDEMPOTENCY_KEY: idempotency_key},
            )
            if own:
                client.set_terminated(run)
            # Asked again instead of trusting the answer: a repeated request may have made a second version.
            made = self._by_key(client, name, idempotency_key)
        if made is None:
            raise TransientAdapterError(f"registering {name!r}: MLflow made a version that it does not list")
        return made

    def version(self, name: str, version: str) -> ModelVersion:
        """Look a version up.

        :raises PermanentAdapterError: if there is none; the message names those that exist
        """
        _check_name(name)
        with self._server.session(f"looking up version {version} of {name!r}") as client:
            numbers = self._versions(client, name)
            if version not in numbers:
                raise PermanentAdapterError(
                    f"model {name!r} has no version {version!r}; registered: {', '.join(numbers) or 'none'}"
                )
            return self._value(client.get_model_version(name, version))

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that an alias names, None if the model or the alias does not exist."""
        check_alias(alias)
        with self._server.session(f"looking up the {alias} of {name!r}") as client:
            number = self._aliases(client, name).get(alias)
            return self._value(client.get_model_version(name, number)) if number else None

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """Keep everybody else from moving the model's aliases; a lease, because MLflow compares nothing itself."""
        held: dict[str, ModelLease] = self._held.__dict__
        if name in held:
            yield
            return
        lease = ModelLease(self._server, name, lease_seconds=self._lease_seconds)
        with lease.hold():
            held[name] = lease
            try:
                yield
            finally:
                del held[name]

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move an alias; nothing happens if it is there already."""
        self.version(name, version)
        if self._current(name, alias, version, expected) == version:
            return
        with self.exclusive(name):
            if self._current(name, alias, version, expected) == version:
                return
            with self._writing(name, f"moving the {alias} of {name!r}") as client:
                client.set_registered_model_alias(name, alias, version)
            self._verify(name, alias, version)

    def remove_alias(self, name: str, alias: str, *, expected: str) -> None:
        """Remove an alias; nothing happens if it is gone already."""
        if self._current(name, alias, None, expected) is None:
            return
        with self.exclusive(name):
            if self._current(name, alias, None, expected) is None:
                return
            with self._writing(name, f"removing the {alias} of {name!r}") as client:
                client.delete_registered_model_alias(name, alias)
            self._verify(name, alias, None)

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or change them."""
        with self._writing(name, f"tagging version {version} of {name!r}") as client:
            for key, value in tags.items():
                client.set_model_version_tag(name, version, key, value)

    @contextmanager
    def _writing(self, name: str, what: str) -> Iterator[MlflowClient]:
        """Give a client for a change; within a lease, only while it has time for one."""
        lease: ModelLease | None = self._held.__dict__.get(name)
        if lease is None:
            with self._server.session(what) as client:
                yield client
            return
        with self._server.session(what, timeout_seconds=lease.timeout_seconds) as client:
            lease.check()
            yield client

    def _verify(self, name: str, alias: str, wanted: str | None) -> None:
        with self._server.session(f"reading the {alias} of {name!r}") as client:
            found = self._aliases(client, name).get(alias)
        if found != wanted:
            raise StaleWriteError(
                f"the {alias} of {name!r} was made {_called(wanted)}, but it is {_called(found)} now; "
                f"somebody moves it who does not ask for the lease"
            )

    def _current(self, name: str, alias: str, wanted: str | None, expected: str | None) -> str | None:
        check_alias(alias)
        with self._server.session(f"reading the {alias} of {name!r}") as client:
            current = self._aliases(client, name).get(alias)
        if current not in (wanted, expected):
            raise StaleWriteError(
                f"the {alias} of {name!r} is {_called(current)}, but {_called(expected)} was expected; "
                f"somebody moved it, and nothing was changed"
            )
        return current

    def _by_key(self, client: MlflowClient, name: str, key: str) -> ModelVersion | None:
        found = client.search_model_versions(f"name = '{name}' and tag.`{IDEMPOTENCY_KEY}` = '{key}'")
        return self._value(min(found, key=lambda one: int(one.version))) if found else None

    @staticmethod
    def _upload(client: MlflowClient, run_id: str, files: Path) -> None:
        client.log_artifacts(run_id, str(files), MODEL_FOLDER)
        promised = {f"{MODEL_FOLDER}/{entry.path}": entry.size_bytes for entry in manifest_of(files).files}
        stored = _stored(client, run_id, MODEL_FOLDER)
        wrong = [path for path, size in promised.items() if stored.get(path) != size]
        if wrong:
            raise TransientAdapterError(f"run {run_id}: MLflow did not keep {', '.join(wrong[:5])} as uploaded")

    @staticmethod
    def _log(client: MlflowClient, run_id: str, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        if metrics:
            client.log_batch(run_id, metrics=[Metric(key, value, 0, 0) for key, value in metrics.items()])

    @staticmethod
    def _create_model(client: MlflowClient, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @staticmethod
    def _versions(client: MlflowClient, name: str) -> list[str]:
        found = client.search_model_versions(f"name = '{name}'")
        return sorted((str(one.version) for one in found), key=int)

    @staticmethod
    def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
        from mlflow.exceptions import MlflowException

        try:
            found = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: str(version) for alias, version in found.aliases.items()}

    @staticmethod
    def _value(found: Any) -> ModelVersion:
        tags = dict(found.tags)
        where = f"version {found.version} of {found.name!r}"
        return ModelVersion(
            name=found.name,
            version=str(found.version),
            model=model_from_tags(tags, where),
            tags=tags,
            run_id=found.run_id or None,
        )


def _check_name(name: str) -> None:
    if not name or any(character in name for character in "'/:"):
        raise SpecificationError("model_name", name, "a name without quotes, slashes and colons")


def _stored(client: MlflowClient, run_id: str, folder: str) -> dict[str, int]:
    files: dict[str, int] = {}
    for entry in client.list_artifacts(run_id, folder):
        files |= _stored(client, run_id, entry.path) if entry.is_dir else {entry.path: entry.file_size}
    return files


def _called(version: str | None) -> str:
    return f"version {version}" if version else "no version"
