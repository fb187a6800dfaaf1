"""Gathering one release's evidence, with all that is needed to verify it elsewhere."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.checksums import SUMS, sums_of
from airflow_mlops.governance.decided import Document
from airflow_mlops.governance.ledger import verify
from airflow_mlops.governance.ledger_export import named_uris, policies_of, readme, release_of
from airflow_mlops.governance.ledger_files import (
    DOCUMENT,
    HEAD,
    SIGNATURE,
    Head,
    read_head,
    read_stored,
    stored_bytes,
)
from airflow_mlops.governance.timeline import ReleaseRecord
from airflow_mlops.hooks.evidence_trees import ChainFolder, Tree, chain_folders
from airflow_mlops.hooks.names import safe_name

__all__ = ["gather", "write_folder", "write_zip"]

#: A zip file holds times; an export is the same bytes whenever it is made.
_TIME = (1980, 1, 1, 0, 0, 0)


def gather(tree: Tree, subject: str, version: str) -> dict[str, bytes]:
    """Return the files of an export: name to content.

    :param tree: the artefact root
    :param subject: name of the model
    :param version: registered version
    :raises ContractError: if the chain does not verify
    :raises SpecificationError: if nothing was decided about the subject or the version
    """
    chains = {chain.folder: chain for chain in chain_folders(tree)}
    folder = safe_name(subject)
    if folder not in chains:
        raise SpecificationError("subject", subject, f"a model with decisions on record at {tree.uri}")
    documents = _documents(chains[folder], subject)
    release = release_of(documents, version)
    numbers = {entry.number for entry in release.entries}
    own = [document for document in documents if document.number in numbers]
    last = max(numbers)
    files = {f"evidence/{folder}/{name}": content for name, content in _part(chains[folder], subject, last).items()}
    for other, until in _about_data(chains, folder, [one.digest for one in release.datasets]):
        about = chains[other].subject or ""
        files |= {f"evidence/{other}/{name}": content for name, content in _part(chains[other], about, until).items()}
    named, absent = _named(tree, own)
    files |= named | policies_of(own)
    anchor = documents[last - 1].digest
    signed = any(SIGNATURE.fullmatch(name.rsplit("/", 1)[-1]) for name in files)
    files["README.txt"] = readme(release, folder=folder, last=last, anchor=anchor, absent=absent, signed=signed)
    files["release.json"] = stored_bytes(_facts(release, last, anchor))
    return files | {SUMS: sums_of(files)}


def write_folder(files: Mapping[str, bytes], folder: Path) -> None:
    """Write an export into a new folder.

    :raises SpecificationError: if something lies there
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecificationError("output", str(folder), "a folder that does not exist yet or is empty")
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def write_zip(files: Mapping[str, bytes], path: Path) -> None:
    """Write an export into a new zip file; the same files give the same bytes.

    :raises SpecificationError: if something lies there
    """
    if path.exists():
        raise SpecificationError("output", str(path), "a file that does not exist yet")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr, entry.compress_type, entry.create_system = 0o644 << 16, zipfile.ZIP_DEFLATED, 3
            archive.writestr(entry, files[name])


def _documents(chain: ChainFolder, subject: str) -> list[Document]:
    audit = verify(chain.files, subject=subject)
    if audit.findings:
        raise ContractError(
            f"evidence of {subject!r} does not verify, so it is not exported: {audit.findings[0].message}"
            + (f" (and {len(audit.findings) - 1} more)" if len(audit.findings) > 1 else "")
        )
    found = []
    for name in sorted(filter(DOCUMENT.fullmatch, chain.files)):
        stored = read_stored(chain.files[name], name, exact=False)
        found.append(Document(number=int(name[:6]), digest=stored.digest, evidence=stored.evidence))
    return found


def _part(chain: ChainFolder, subject: str, last: int) -> dict[str, bytes]:
    """Return a chain up to a document, with a head that counts this part of it."""
    names = [name for name in chain.files if DOCUMENT.fullmatch(name) or SIGNATURE.fullmatch(name)]
    part = {name: chain.files[name] for name in names if int(name[:6]) <= last}
    newest = max(name for name in part if DOCUMENT.fullmatch(name))
    digest = read_stored(part[newest], newest, exact=False).digest
    begin = read_head(chain.files[HEAD], HEAD).signed_from if HEAD in chain.files else None
    head = Head(subject=subject, count=last, digest=digest, signed_from=begin if begin and begin <= last else None)
    return part | {HEAD: stored_bytes(encode(head))}


def _about_data(chains: Mapping[str, ChainFolder], model: str, digests: Iterable[str]) -> list[tuple[str, int]]:
    """Find the chains of other subjects that tell of a release's data, and the last document of each that does."""
    wanted = [digest.encode() for digest in digests]
    found = []
    for folder, chain in sorted(chains.items()):
        if folder == model or chain.subject is None:
            continue
        names = sorted(filter(DOCUMENT.fullmatch, chain.files), reverse=True)
        last = next((int(name[:6]) for name in names if any(one in chain.files[name] for one in wanted)), None)
        if last is not None:
            _documents(chain, chain.subject)
            found.append((folder, last))
    return found


def _named(tree: Tree, documents: Iterable[Document]) -> tuple[dict[str, bytes], list[str]]:
    """Return the files that decisions name, with the pages of the tasks that decided, and the URIs of lost ones."""
    found, absent = {}, []
    for document in documents:
        for uri in named_uris(document):
            name = uri.removeprefix(f"{tree.uri}/")
            parts = name.split("/")
            if parts[0] == "evidence" and name != uri:
                continue
            if name == uri or {"", ".", ".."} & set(parts):
                absent.append(uri)
                continue
            try:
                found[name] = tree.read(name)
            except ContractError:
                absent.append(uri)
        who = document.evidence.origin
        pages = "/".join(["reports", *map(safe_name, (who.dag_id, who.run_id, who.task_id, str(who.map_index)))])
        found |= {name: tree.read(name) for name in _present(tree, pages)}
    return found, sorted(set(absent))


def _present(tree: Tree, folder: str) -> list[str]:
    try:
        return list(tree.all_files(folder))
    except FileNotFoundError:
        return []


def _facts(release: ReleaseRecord, last: int, anchor: str) -> dict[str, object]:
    return {
        "subject": release.model_name,
        "version": release.version,
        "model_digest": release.digest,
        "state": release.state,
        "verdict": release.verdict.value,
        "documents": [entry.number for entry in release.entries],
        "datasets": sorted({one.digest for one in release.datasets}),
        "last": last,
        "anchor": anchor,
    }
