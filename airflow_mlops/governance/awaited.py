"""Which version of a model somebody waits for, and what is news to somebody who has seen the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.versions import check_alias, model_from_tags
from airflow_mlops.references import ModelRef

__all__ = ["Awaited", "ModelVersionEvent", "RegisteredVersion", "Sighting", "Watched"]


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """A version as the registry has it, whoever registered it.

    :param number: its number
    :param status: ``READY``, or why it cannot be used
    :param run_id: the tracking run that holds its files, None where there is none
    """

    name: str
    number: int
    status: str = "READY"
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None

    @property
    def version(self) -> str:
        """Its number, as text."""
        return str(self.number)

    @property
    def model(self) -> ModelRef | None:
        """Its files, None if it was registered by something that does not say where they are."""
        try:
            return model_from_tags(self.tags, self.version)
        except ContractError:
            return None


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What was seen of a model in one look.

    :param aliases: what each alias names now
    :param versions: versions, the oldest first; those that are asked about and those that aliases name
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[RegisteredVersion, ...] = ()

    def version(self, number: str) -> RegisteredVersion | None:
        """Return the version with a number, None if it was not seen."""
        return next((one for one in self.versions if one.version == number), None)


@dataclass(frozen=True, kw_only=True)
class Awaited:
    """The version that somebody waits for.

    :param model_name: the registered model
    :param after_version: without an alias, the version has a higher number than this; with one, another. None is
        content with any
    :param alias: ``champion`` or ``challenger``: the version is the one that it names; None for any version
    :param tag: key of a tag that the version must carry, with a value; None for none
    :param tag_value: what the tag must say, None for anything
    """

    model_name: str
    after_version: str | None = None
    alias: str | None = None
    tag: str | None = None
    tag_value: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no version can be."""
        if not self.model_name:
            raise SpecificationError("model_name", self.model_name, "the name of a registered model")
        if self.alias is not None:
            check_alias(self.alias)
        if self.after_version is not None and not self.after_version.isdecimal():
            raise SpecificationError("after_version", self.after_version, "a version number such as '3', or None")
        if self.tag_value is not None and not self.tag:
            raise SpecificationError("tag", self.tag, "the key of the tag that is to say something, with tag_value")

    @property
    def words(self) -> str:
        """What is waited for, for a person."""
        what = f"the {self.alias} of {self.model_name!r}" if self.alias else f"a version of {self.model_name!r}"
        if self.after_version is not None:
            what += f" {'other' if self.alias else 'higher'} than {self.after_version}"
        if self.tag:
            what += f" with the tag {self.tag}" + (f" = {self.tag_value!r}" if self.tag_value is not None else "")
        return what

    def found(self, seen: Sighting) -> RegisteredVersion | None:
        """Return the newest version that fits, None if there is none."""
        return next((one for one in reversed(seen.versions) if self._fits(one, seen.aliases)), None)

    def _fits(self, found: RegisteredVersion, aliases: Mapping[str, str]) -> bool:
        if found.status != "READY":
            return False
        if self.alias is not None:
            if aliases.get(self.alias) != found.version or found.version == self.after_version:
                return False
        elif found.number <= int(self.after_version or 0):
            return False
        said = found.tags.get(self.tag) if self.tag else None
        if not self.tag:
            return True
        return said == self.tag_value if self.tag_value is not None else bool(said)


@dataclass(frozen=True, kw_only=True)
class ModelVersionEvent:
    """A model has a new version, or an alias was moved.

    :param kind: ``version`` or ``alias``
    :param alias: the alias that moved
    :param previous: the version that the alias named when it was last seen, None for none
    :param model: the version's files, None if it does not say where they are
    :param digest: digest of the model's files
    :param key: the same for the same event, whenever and by whomever it is told
    """

    kind: Literal["version", "alias"]
    model_name: str
    version: str
    alias: str | None = None
    previous: str | None = None
    model: ModelRef | None = None
    digest: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a watcher wants to be told of.

    The cursor says how far it has come: the highest version that it was told of, or the version that the alias named;
    empty for none.

    :param alias: the alias whose moves are news; None if new versions are
    :param tag: key of a tag without which a version is no news; it has to be there when the version is registered
    """

    model_name: str
    alias: str | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be watched."""
        if not self.model_name:
            raise SpecificationError("model_name", self.model_name, "the name of a registered model")
        if self.alias is not None:
            check_alias(self.alias)

    def start(self, seen: Sighting) -> str:
        """Return the cursor of somebody to whom all that there is now is no news."""
        if self.alias is not None:
            return seen.aliases.get(self.alias, "")
        return next((one.version for one in reversed(_settled(seen.versions))), "0")

    def news(self, seen: Sighting, cursor: str) -> Iterator[tuple[ModelVersionEvent | None, str]]:
        """Give all news since the cursor, the oldest first, each with the cursor behind it; None is no news.

        A version that the registry is still making, and all after it, are told of later, so that none is passed over.
        """
        if self.alias is not None:
            yield from self._moved(seen, self.alias, cursor)
            return
        for one in _settled(seen.versions):
            if one.number > int(cursor or 0):
                told = one.status == "READY" and (not self.tag or bool(one.tags.get(self.tag)))
                yield self._event(one, kind="version") if told else None, one.version

    def _moved(self, seen: Sighting, alias: str, cursor: str) -> Iterator[tuple[ModelVersionEvent | None, str]]:
        now = seen.aliases.get(alias, "")
        if now == cursor:
            return
        found = seen.version(now)
        if not now or (found is not None and self.tag and not found.tags.get(self.tag)):
            yield None, now
        elif found is not None:  # else the alias moved while we looked
            event = self._event(found, kind="alias")
            yield replace(event, alias=alias, previous=cursor or None, key=_key(event, alias, cursor)), now

    def _event(self, one: RegisteredVersion, *, kind: Literal["version", "alias"]) -> ModelVersionEvent:
        model = one.model
        event = ModelVersionEvent(
            kind=kind,
            model_name=self.model_name,
            version=one.version,
            model=model,
            digest=model.digest if model else None,
            tags=dict(one.tags),
            run_id=one.run_id,
        )
        return replace(event, key=_key(event))


def _settled(versions: Iterable[RegisteredVersion]) -> list[RegisteredVersion]:
    settled = []
    for one in versions:
        if one.status == "PENDING_REGISTRATION":
            break
        settled.append(one)
    return settled


def _key(event: ModelVersionEvent, *more: str) -> str:
    return digest_of([event.kind, event.model_name, event.version, *more])
