"""Moving ``champion`` and ``challenger``, in an order that survives being interrupted and repeated anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.exceptions import ConflictError, StaleWriteError
from airflow_mlops.governance.ports import ModelRegistry
from airflow_mlops.governance.versions import (
    PREVIOUS_CHAMPION,
    PROMOTION_EVIDENCE,
    REJECTED,
    REJECTION_EVIDENCE,
    WITHDRAWN,
    ModelVersion,
)

__all__ = ["ANY", "Release", "challenge", "promote", "roll_back"]

#: Whichever version is the champion now.
ANY = "any"


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a release, or its reversal, left behind.

    :param version: the version in question, as the registry has it now
    :param champion: the champion now, None for none
    :param previous: the champion before, None for none
    """

    version: ModelVersion
    champion: str | None
    previous: str | None


def challenge(registry: ModelRegistry, version: ModelVersion) -> None:
    """Make a version the challenger, unless it is the champion already."""
    with registry.exclusive(version.name):
        if _named(registry, version.name, "champion") != version.version:
            current = _named(registry, version.name, "challenger")
            registry.set_alias(version.name, "challenger", version.version, expected=current)


def promote(registry: ModelRegistry, name: str, number: str, *, expected: str | None) -> Release:
    """Make a version the champion; a repetition finishes what was begun.

    :param expected: the version that is champion now, None for none, :data:`ANY` for whichever
    :raises ConflictError: if the version was rejected
    :raises StaleWriteError: if another version than ``expected`` is champion
    """
    registry.version(name, number)  # an unknown model cannot be kept for oneself
    with registry.exclusive(name):
        return _promote(registry, name, number, expected)


def _promote(registry: ModelRegistry, name: str, number: str, expected: str | None) -> Release:
    version = registry.version(name, number)
    if version.tags.get(REJECTED):
        raise ConflictError(f"version {number} of {name!r} was rejected and cannot lead: {version.tags[REJECTED]}")
    before = _named(registry, name, "champion")
    if before != number:
        if expected not in (ANY, before):
            raise StaleWriteError(
                f"the champion of {name!r} is {_called(before)}, but {_called(expected)} was expected; "
                "another release came in between, and nothing was changed"
            )
        # Written first: whoever finds the alias moved must find the way back.
        registry.set_tags(
            name,
            number,
            {PREVIOUS_CHAMPION: before or "", PROMOTION_EVIDENCE: "", WITHDRAWN: "", REJECTION_EVIDENCE: ""},
        )
        registry.set_alias(name, "champion", number, expected=before)
    _withdraw(registry, name, number)
    now = registry.version(name, number)
    return Release(version=now, champion=number, previous=now.tags.get(PREVIOUS_CHAMPION) or None)


def roll_back(registry: ModelRegistry, name: str, number: str, *, reason: str, reject: bool = True) -> Release:
    """Take a version out: it loses its aliases, and if it was champion the one before it leads again.

    :param reason: one sentence; the first reason stays when this is repeated
    :param reject: whether the version was found wanting and must never lead; else its release was only given up
    """
    registry.version(name, number)
    with registry.exclusive(name):
        return _roll_back(registry, name, number, reason, REJECTED if reject else WITHDRAWN)


def _roll_back(registry: ModelRegistry, name: str, number: str, reason: str, tag: str) -> Release:
    version = registry.version(name, number)
    if not version.tags.get(tag):
        registry.set_tags(name, number, {tag: reason, REJECTION_EVIDENCE: ""})
    _withdraw(registry, name, number)
    if _named(registry, name, "champion") == number:
        back = _last_good(registry, version)
        if back is None:
            registry.remove_alias(name, "champion", expected=number)
        else:
            registry.set_alias(name, "champion", back, expected=number)
    return Release(
        version=registry.version(name, number),
        champion=_named(registry, name, "champion"),
        previous=version.tags.get(PREVIOUS_CHAMPION) or None,
    )


def _withdraw(registry: ModelRegistry, name: str, number: str) -> None:
    if _named(registry, name, "challenger") == number:
        registry.remove_alias(name, "challenger", expected=number)


def _last_good(registry: ModelRegistry, version: ModelVersion) -> str | None:
    seen = {version.version}
    number = version.tags.get(PREVIOUS_CHAMPION) or None
    while number is not None and number not in seen:
        seen.add(number)
        earlier = registry.version(version.name, number)
        if not earlier.tags.get(REJECTED):
            return number
        number = earlier.tags.get(PREVIOUS_CHAMPION) or None
    return None


def _named(registry: ModelRegistry, name: str, alias: str) -> str | None:
    found = registry.by_alias(name, alias)
    return found.version if found else None


def _called(version: str | None) -> str:
    return f"version {version}" if version else "no version"
