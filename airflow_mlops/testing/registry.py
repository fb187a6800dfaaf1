"""A model registry in memory, and the behaviour that every registry must show."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.governance.ports import ModelRegistry
from airflow_mlops.governance.versions import IDEMPOTENCY_KEY, ModelVersion, check_alias, model_tags
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef

__all__ = ["MemoryRegistry", "check_registry"]


class MemoryRegistry:
    """Keeps versions for as long as the object lives."""

    def __init__(self) -> None:
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._one_at_a_time = threading.RLock()

    def register(
        self,
        name: str,
        model: ModelRef,
        files: Path,
        *,
        idempotency_key: str,
        lineage: Mapping[str, str],
        metrics: Mapping[str, float],  # noqa: ARG002 - the port's signature
        run_id: str | None = None,
    ) -> ModelVersion:
        """Add a version; a repetition with the same key returns the version that the first call made."""
        manifest_of(files)
        known = self._versions.setdefault(name, [])
        for version in known:
            if version.tags[IDEMPOTENCY_KEY] == idempotency_key:
                return version
        tags = {**lineage, **model_tags(model), IDEMPOTENCY_KEY: idempotency_key}
        made = ModelVersion(
            name=name, version=str(len(known) + 1), model=model, tags=tags, run_id=run_id or f"run-{len(known) + 1}"
        )
        known.append(made)
        return made

    def version(self, name: str, version: str) -> ModelVersion:
        """Look a version up."""
        known = {one.version: one for one in self._versions.get(name, ())}
        if version not in known:
            raise PermanentAdapterError(
                f"model {name!r} has no version {version!r}; registered: {', '.join(known) or 'none'}"
            )
        return known[version]

    def by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Return the version that an alias names, None if the model or the alias does not exist."""
        check_alias(alias)
        number = self._aliases.get((name, alias))
        return self.version(name, number) if number else None

    @contextmanager
    def exclusive(self, name: str) -> Iterator[None]:  # noqa: ARG002 - the port's signature
        """Keep every other thread from moving aliases."""
        with self._one_at_a_time:
            yield

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move an alias; nothing happens if it is there already."""
        self.version(name, version)
        with self.exclusive(name):
            self._check(name, alias, version, expected)
            self._aliases[name, alias] = version

    def remove_alias(self, name: str, alias: str, *, expected: str) -> None:
        """Remove an alias; nothing happens if it is gone already."""
        with self.exclusive(name):
            self._check(name, alias, None, expected)
            self._aliases.pop((name, alias), None)

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version, or change them."""
        found = self.version(name, version)
        known = self._versions[name]
        known[known.index(found)] = replace(found, tags={**found.tags, **tags})

    def _check(self, name: str, alias: str, wanted: str | None, expected: str | None) -> None:
        check_alias(alias)
        current = self._aliases.get((name, alias))
        if current not in (wanted, expected):
            raise StaleWriteError(f"the {alias} of {name!r} is version {current}, but {expected} was expected")


def check_registry(registry: ModelRegistry, name: str, files: Path) -> None:
    """Try everything that the port promises; AssertionError says what an implementation does not keep.

    :param name: a model name that the registry does not know yet
    :param files: directory with any files
    """
    manifest = manifest_of(files)
    model = ModelRef(uri=f"file://{files}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
    assert registry.by_alias(name, "champion") is None, "no model, no champion"
    _refuses(PermanentAdapterError, lambda: registry.version(name, "1"), "an unknown version")
    made = [_register(registry, name, model, files, key) for key in ("first", "second", "first")]
    assert made[0] == made[2], "a repeated registration gives the same version"
    assert made[0].version != made[1].version, "another key gives another version"
    assert registry.version(name, made[1].version).model == model, "the model comes back as it was given"
    assert made[0].tags["origin"] == "conformance", "lineage becomes tags"
    _check_aliases(registry, name, made[0].version, made[1].version)
    _check_race(registry, name, [version.version for version in made[:2]])
    registry.set_tags(name, made[0].version, {"note": "a"})
    registry.set_tags(name, made[0].version, {"note": "b"})
    assert registry.version(name, made[0].version).tags["note"] == "b", "tags can be changed"


def _check_aliases(registry: ModelRegistry, name: str, one: str, two: str) -> None:
    registry.set_alias(name, "champion", one, expected=None)
    registry.set_alias(name, "champion", one, expected=None)  # repeated: nothing happens
    _refuses(StaleWriteError, lambda: registry.set_alias(name, "champion", two, expected=None), "a stale move")
    _refuses(PermanentAdapterError, lambda: registry.set_alias(name, "challenger", "99", expected=None), "no version")
    _refuses(SpecificationError, lambda: registry.by_alias(name, "production"), "another alias")
    registry.set_alias(name, "champion", two, expected=one)
    found = registry.by_alias(name, "champion")
    assert found is not None, "the alias is kept"
    assert found.version == two, "the alias moved"
    _refuses(StaleWriteError, lambda: registry.remove_alias(name, "champion", expected=one), "a stale removal")
    registry.remove_alias(name, "champion", expected=two)
    registry.remove_alias(name, "champion", expected=two)  # repeated: nothing happens
    assert registry.by_alias(name, "champion") is None, "the alias is gone"


def _check_race(registry: ModelRegistry, name: str, versions: list[str]) -> None:
    def move(version: str) -> str | None:
        try:
            with registry.exclusive(name), registry.exclusive(name):
                registry.set_alias(name, "champion", version, expected=None)
        except StaleWriteError:
            return None
        return version

    with ThreadPoolExecutor(len(versions)) as pool:
        won = [version for version in pool.map(move, versions) if version is not None]
    found = registry.by_alias(name, "champion")
    assert found is not None, "one of two who race wins"
    assert [found.version] == won, "only one of two who expect the same wins, and the alias is what it made it"


def _register(registry: ModelRegistry, name: str, model: ModelRef, files: Path, key: str) -> ModelVersion:
    return registry.register(
        name, model, files, idempotency_key=key, lineage={"origin": "conformance"}, metrics={"score": 0.5}
    )


def _refuses(expected: type[Exception], call: object, what: str) -> None:
    assert callable(call)
    try:
        call()
    except expected:
        return
    raise AssertionError(f"{what} must raise {expected.__name__}")
