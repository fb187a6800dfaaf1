"""The dossier of a release: every decision about a model's files, in order, whole and so that it can be checked.

The document holds the decisions themselves, each with its place in the model's chain and its digest. Whoever has only
the document can tell whether a decision in it was changed, and, where decisions follow one another in the chain, that
none was taken out; whoever has the chain as well can tell that none is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_mlops.codec import decode, encode
from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.approval_form import summary_of
from airflow_mlops.governance.concerning import concerning
from airflow_mlops.page import render_page

__all__ = ["check_dossier", "dossier", "render_dossier"]

_FIELDS = {"dossier_version", "model_name", "model_digest", "head", "decisions"}


def dossier(documents: Sequence[Evidence], model_digest: str) -> dict[str, Any]:
    """Return all decisions about a model's files, JSON-safe.

    :param documents: all documents of the model's chain, verified, oldest first
    :param model_digest: ``sha256:…`` of the files
    :raises ContractError: if none is about them
    """
    digests = [digest(one) for one in documents]
    about = {digest(one) for one in concerning(documents, model_digest)}
    if not about:
        raise ContractError(f"no decision is about the model {model_digest}")
    return {
        "dossier_version": 1,
        "model_name": documents[0].subject,
        "model_digest": model_digest,
        "head": {"number": len(documents), "digest": digests[-1]},
        "decisions": [
            {"number": number, "digest": found, "document": encode(document)}
            for number, (found, document) in enumerate(zip(digests, documents, strict=True), start=1)
            if found in about
        ],
    }


def check_dossier(given: Any) -> tuple[Evidence, ...]:
    """Check a dossier by itself, and return its decisions.

    :raises ContractError: if it is none, a decision was changed, or decisions are not in the order of their chain
    """
    if not isinstance(given, Mapping) or set(given) != _FIELDS or given["dossier_version"] != 1:
        raise ContractError(f"this is no dossier of version 1: its fields are not {', '.join(sorted(_FIELDS))}")
    found: list[Evidence] = []
    before: tuple[int, str] | None = None
    for entry in given["decisions"]:
        number, promised = int(entry["number"]), str(entry["digest"])
        try:
            document = decode(Evidence, entry["document"], where=f"decision {number}")
        except SpecificationError as error:
            raise ContractError(f"dossier of {given['model_name']!r}: {error}") from error
        if digest(document) != promised:
            raise ContractError(f"decision {number} does not have the digest {promised}; it was changed")
        if before is not None and number <= before[0]:
            raise ContractError(f"decision {number} stands after decision {before[0]}; the order was changed")
        if before is not None and number == before[0] + 1 and document.previous != before[1]:
            raise ContractError(f"decision {number} does not follow decision {before[0]}; the chain was changed")
        before = (number, promised)
        found.append(document)
    return tuple(found)


def render_dossier(given: Mapping[str, Any]) -> str:
    """Return a dossier as a page.

    :raises ContractError: as :func:`check_dossier`
    """
    documents = check_dossier(given)
    decisions = [
        {
            "number": entry["number"],
            "digest": entry["digest"],
            "previous": document.previous,
            "decision": document.decision,
            "verdict": document.verdict.value,
            "at": datetime.fromtimestamp(document.decided_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "task": f"{document.origin.dag_id}.{document.origin.task_id}",
            "run": document.origin.run_id,
            "said": summary_of(document),
            "weights": document.notes.get("weights") if isinstance(document.notes.get("weights"), Mapping) else None,
            "checks": [(one.name, one.verdict.value, one.reason) for one in document.checks],
            "references": list(_named(document.references)),
        }
        for entry, document in zip(given["decisions"], documents, strict=True)
    ]
    return render_page("governance/templates/dossier.html", dossier=given, decisions=decisions)


def _named(references: Any, role: str = "") -> list[tuple[str, str]]:
    """Return role and digest of everything that a decision rests on, however deep it is."""
    if isinstance(references, Mapping):
        own = references.get("digest")
        found = [(role, str(own))] if own else []
        inner = {key: value for key, value in references.items() if isinstance(value, (Mapping, list, tuple))}
        named = [(f"{role}.{key}" if role else str(key), value) for key, value in inner.items() if key != "columns"]
        return found + [one for name, value in named for one in _named(value, name)]
    if isinstance(references, (list, tuple)):
        return [one for value in references for one in _named(value, role)]
    return []
