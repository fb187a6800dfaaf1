"""Which decisions in a model's record are about one set of files, and which of them a release rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.evidence import Evidence

__all__ = ["basis", "concerning", "is_release_approval", "named_digest"]

_ROLES = ("candidate", "model")


def concerning(documents: Sequence[Evidence], model_digest: str) -> tuple[Evidence, ...]:
    """Return the decisions about a model's files, in their order.

    :param documents: all documents of the model's chain, oldest first
    :param model_digest: ``sha256:…`` of the files
    """
    return tuple(one for one in documents if any(named_digest(one, role) == model_digest for role in _ROLES))


def basis(documents: Sequence[Evidence], model_digest: str) -> tuple[Evidence, ...]:
    """Return the decisions about a model's files that its release rests on; what only tells of them is none.

    :param documents: all documents of the model's chain, oldest first
    :param model_digest: ``sha256:…`` of the files
    """
    found = concerning(documents, model_digest)
    return tuple(one for one in found if one.decision != "card" and not is_release_approval(one))


def is_release_approval(document: Evidence) -> bool:
    """Whether people approve a release here; the answer to a gate's question is an approval, too, but no such."""
    return document.decision == "approval" and "quorum" in document.notes


def named_digest(document: Evidence, role: str) -> str | None:
    """Return the digest of what plays a role in a decision, None if nothing does."""
    found: Any = document.references.get(role)
    return str(found["digest"]) if isinstance(found, Mapping) and found.get("digest") else None
