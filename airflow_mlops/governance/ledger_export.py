"""What an export of one release consists of: which documents, which files they name, and how to check it by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.governance.decided import Document
from airflow_mlops.governance.ledger_files import short, stored_bytes
from airflow_mlops.governance.timeline import ReleaseRecord, releases

__all__ = ["named_uris", "policies_of", "readme", "release_of"]

_README = """\
Release {version} of {subject}
{rule}

Model files: {digest}
Decisions about this release: documents {numbers}
of the chain in evidence/{folder}, which is here from its first document to number {last}.
Anchor: document {last} has the digest
  {anchor}
Whoever noted this digest when it was written, elsewhere, can tell that nothing before it was changed.

What is here
  evidence/    the decisions, one JSON file each; *.sig sign them, chain.head counts them
  policies/    the policies that were applied, named by decision and digest
  release.json what this export is, for programs
  other files  reports, evaluations and model cards that the decisions name, where they lay below the artefact root
{absent}
How to verify it

1. With airflow-mlops, offline:

     airflow mlops audit verify --root . --head {anchor}

2. With nothing but coreutils, that no file of this export changed since it was made:

     sha256sum --check SHA256SUMS

3. With nothing but Python, that every decision follows the one before it. Only this says that the decisions are those
   that were written; SHA256SUMS can be written again by anybody.

python3 - evidence/{folder} <<'END'
{script}
END
{signatures}"""

_SCRIPT = """\
import hashlib, json, pathlib, sys
previous = None
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    document = json.loads(path.read_bytes())
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    holds = document["previous"] == previous and path.name[7:19] == digest[7:19]
    print("ok " if holds else "BAD", path.name, digest)
    previous = digest"""

_SIGNATURES = """
4. With nothing but OpenSSL, that a document was signed by a key; DIGEST is what step 3 prints of it, and "signature" in
   its .sig is base64:

     printf 'airflow-mlops evidence signature 1\\n%s' DIGEST > message
     base64 --decode > signature.bin
     openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in message -sigfile signature.bin
"""


def release_of(documents: Sequence[Document], version: str) -> ReleaseRecord:
    """Return the release of a registered version.

    :param documents: all documents of the model's chain, oldest first
    :raises SpecificationError: if no decision names that version
    """
    known = {release.version: release for release in releases(documents) if release.version}
    if version not in known:
        listed = ", ".join(sorted(known, key=lambda one: (len(one), one))) or "there is none"
        raise SpecificationError("version", version, f"a version with decisions on record: {listed}")
    return known[version]


def named_uris(document: Document) -> tuple[str, ...]:
    """Return every URI that a decision names, but for those of models and datasets: these are kept by their digest."""
    evidence = document.evidence
    found = (*_uris(evidence.references), *_uris(evidence.notes))
    return tuple(dict.fromkeys(found))


def _uris(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "digest" in value and "format" in value:
            return
        for key, item in value.items():
            if isinstance(item, str) and (key == "uri" or key.endswith("_uri")):
                yield item
            else:
                yield from _uris(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _uris(item)


def policies_of(documents: Sequence[Document]) -> dict[str, bytes]:
    """Return the policies of decisions as files: name to content."""
    return {
        f"policies/{document.evidence.decision}-{short(document.evidence.policy_digest)}.json": stored_bytes(
            document.evidence.policy
        )
        for document in documents
        if document.evidence.policy_digest is not None
    }


def readme(
    release: ReleaseRecord, *, folder: str, last: int, anchor: str, absent: Sequence[str], signed: bool
) -> bytes:
    """Write how to read and verify an export.

    :param folder: name of the chain's folder
    :param last: number of the newest document here
    :param anchor: its digest
    :param absent: URIs that decisions name and where nothing lies any more
    :param signed: whether documents are signed
    """
    title = f"Release {release.version} of {release.model_name}"
    gone = "".join(f"  {uri}\n" for uri in absent)
    text = _README.format(
        version=release.version,
        subject=release.model_name,
        rule="=" * len(title),
        digest=release.digest or "not said by any decision",
        numbers=", ".join(str(entry.number) for entry in release.entries),
        folder=folder,
        last=last,
        anchor=anchor,
        absent=f"\nNamed by decisions, and not there any more or not below the artefact root\n{gone}" if absent else "",
        script=_SCRIPT,
        signatures=_SIGNATURES if signed else "",
    )
    return text.encode()
