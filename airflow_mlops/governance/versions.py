"""Registered versions of a model, and how a version names its files and its origin in tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.references import ModelRef

__all__ = [
    "ALIASES",
    "IDEMPOTENCY_KEY",
    "PREVIOUS_CHAMPION",
    "PROMOTION_EVIDENCE",
    "REGISTRATION_EVIDENCE",
    "REJECTED",
    "REJECTION_EVIDENCE",
    "WITHDRAWN",
    "Alias",
    "ModelVersion",
    "Needed",
    "check_alias",
    "model_from_tags",
    "model_tags",
]

Alias = Literal["champion", "challenger"]
#: The only aliases in use: what serves, and what wants to.
ALIASES: tuple[str, ...] = get_args(Alias)

#: What one may insist that a version says of where it comes from and how it is used.
Needed = Literal["datasets", "evaluation", "gate", "git_revision", "image", "requirements", "signature"]

_PREFIX = "mlops."
#: Tag that tells a repeated registration from a new one.
IDEMPOTENCY_KEY = _PREFIX + "idempotency_key"
#: Tag of a champion: the version that was champion before it.
PREVIOUS_CHAMPION = _PREFIX + "previous_champion"
#: Tag of a version that was rolled back: the reason.
REJECTED = _PREFIX + "rejected"
#: Tag of a version whose release was given up without a verdict on it: why. It may be released again.
WITHDRAWN = _PREFIX + "withdrawn"
#: Tags with the digest of the evidence behind each change of a version's standing.
REGISTRATION_EVIDENCE = _PREFIX + "registration_evidence"
PROMOTION_EVIDENCE = _PREFIX + "promotion_evidence"
REJECTION_EVIDENCE = _PREFIX + "rejection_evidence"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One registered version.

    :param name: the registered model
    :param version: number of the version, as a string
    :param model: its files
    :param tags: everything else that the registry knows about it
    :param run_id: the tracking run that holds the files, None where there is none
    """

    name: str
    version: str
    model: ModelRef
    tags: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse a version without a name or number."""
        if not self.name:
            raise SpecificationError("ModelVersion.name", self.name, "the name of a registered model")
        if not self.version:
            raise SpecificationError("ModelVersion.version", self.version, "a version number such as '3'")


def check_alias(alias: str) -> None:
    """Refuse any alias but ``champion`` and ``challenger``.

    :raises SpecificationError: if it is another
    """
    if alias not in ALIASES:
        raise SpecificationError("alias", alias, "one of " + ", ".join(map(repr, ALIASES)))


def model_tags(model: ModelRef) -> dict[str, str]:
    """Tags that :func:`model_from_tags` reads back."""
    return {
        _PREFIX + "model_uri": model.uri,
        _PREFIX + "model_digest": model.digest,
        _PREFIX + "model_format": model.format,
        _PREFIX + "model_size_bytes": str(model.size_bytes),
    }


def model_from_tags(tags: Mapping[str, str], where: str) -> ModelRef:
    """Read the model's reference from a version's tags.

    :param where: which version this is, for the message
    :raises ContractError: if the version was registered by something else and does not name its files
    """
    missing = [name for name in ("uri", "digest", "format", "size_bytes") if f"{_PREFIX}model_{name}" not in tags]
    if missing:
        raise ContractError(
            f"{where} was not registered by RegisterModelOperator: it has no tag "
            + ", ".join(f"{_PREFIX}model_{name}" for name in missing)
        )
    try:
        return ModelRef(
            uri=tags[_PREFIX + "model_uri"],
            digest=tags[_PREFIX + "model_digest"],
            format=tags[_PREFIX + "model_format"],
            size_bytes=int(tags[_PREFIX + "model_size_bytes"]),
        )
    except ValueError as error:
        raise ContractError(f"{where}: its tags do not name a model: {error}") from error
