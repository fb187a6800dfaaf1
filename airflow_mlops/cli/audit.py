"""What the commands ``airflow mlops audit …`` do; none of them needs Airflow's database."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.cli.output import columns, exits, say
from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.governance.ledger import Audit
    from airflow_mlops.governance.ledger_findings import Finding
    from airflow_mlops.governance.ledger_sidecars import Signer
    from airflow_mlops.hooks.evidence_trees import ChainFolder, Tree

__all__ = ["export", "log", "verify"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@exits
def verify(args: argparse.Namespace) -> int:
    """Check chains of evidence, say everything that is wrong; 1 if anything is."""
    for digest in args.head:
        if not _DIGEST.fullmatch(digest):
            raise SpecificationError("head", digest, "a document's digest: 'sha256:' and 64 hexadecimal digits")
    signer, tree = _signer(args.key), _tree(args.root)
    chains = _chosen(tree, args.subject)
    anchors = dict.fromkeys(args.head, "") | _remembered(args.mlflow_conn_id, chains)
    audits = tuple(_audit(chain, signer, tuple(anchors)) for chain in chains)
    others = (*_unanchored(audits, anchors), *_sums(tree))
    intact = not others and not any(audit.findings for audit in audits)
    if args.json:
        found = {"intact": intact, "root": tree.uri, "chains": encode(audits), "findings": encode(others)}
        print(json.dumps(found, indent=2))
    else:
        for audit in audits:
            _tell(audit)
        for finding in others:
            say(f"  {finding.kind:<9}  {finding.message}")
        say(_summary(audits, len(others)))
    return 0 if intact else 1


@exits
def log(args: argparse.Namespace) -> int:
    """Print the decisions about a subject; 1 if one of them cannot be read."""
    from airflow_mlops.governance.ledger_files import DOCUMENT

    (chain,) = _chosen(_tree(args.root), [args.subject])
    names = sorted(filter(DOCUMENT.fullmatch, chain.files))
    rows = [_row(chain, name) for name in names[-args.last if args.last else 0 :]]
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        table = [
            [str(row[key]) for key in ("number", "at", "decision", "verdict", "task", "digest", "what")] for row in rows
        ]
        say(columns([["no.", "decided at", "decision", "verdict", "task", "digest", "what"], *table]))
    return 1 if any(row["verdict"] == "unreadable" for row in rows) else 0


@exits
def export(args: argparse.Namespace) -> int:
    """Write one release's evidence, and what verifies it, into a folder or a zip file."""
    from airflow_mlops.governance.checksums import SUMS
    from airflow_mlops.hooks.evidence_export import gather, write_folder, write_zip

    files = gather(_tree(args.root), args.subject, str(args.version))
    target = Path(args.output).absolute()
    (write_zip if target.suffix == ".zip" else write_folder)(files, target)
    facts = json.loads(files["release.json"])
    say(f"{args.subject} version {args.version}: {len(files)} files in {target}")
    say(f"anchor {facts['anchor']} (document {facts['last']}); {SUMS} sha256:{hashlib.sha256(files[SUMS]).hexdigest()}")
    return 0


def _tree(root: str | None) -> Tree:
    from airflow_mlops.hooks import settings
    from airflow_mlops.hooks.evidence_trees import open_tree

    return open_tree(root or settings.artifact_root())


def _chosen(tree: Tree, subjects: Sequence[str]) -> tuple[ChainFolder, ...]:
    from airflow_mlops.hooks.evidence_trees import chain_folders
    from airflow_mlops.hooks.names import safe_name

    chains = chain_folders(tree)
    if not subjects:
        return chains
    by_folder = {chain.folder: chain for chain in chains}
    for subject in subjects:
        if safe_name(subject) not in by_folder:
            listed = ", ".join(chain.subject or chain.folder for chain in chains) or "there is nothing"
            raise ContractError(f"{tree.uri}: there is no evidence of {subject!r}; of {listed}")
    return tuple(by_folder[safe_name(subject)] for subject in dict.fromkeys(subjects))


def _audit(chain: ChainFolder, signer: Signer | None, anchors: Sequence[str]) -> Audit:
    from airflow_mlops.governance.ledger import verify as verified

    return verified(chain.files, subject=chain.subject, signer=signer, anchors=anchors)


def _signer(paths: Sequence[str]) -> Signer | None:
    if not paths:
        return None
    from airflow_mlops.container.model_signature import key_id, signer_of
    from airflow_mlops.hooks.documents import load_text

    keys = [load_text(path, field="key", folder=Path.cwd()) for path in paths]
    for key in keys:
        key_id(key)
    return lambda signature: signer_of(signature, keys, purpose="evidence")


def _remembered(conn_id: str | None, chains: Sequence[ChainFolder]) -> dict[str, str]:
    """Return the digests that the registry's versions hold in tags: digest to where it stands."""
    if conn_id is None:
        return {}
    from airflow_mlops.governance.versions import PROMOTION_EVIDENCE, REGISTRATION_EVIDENCE, REJECTION_EVIDENCE
    from airflow_mlops.hooks.mlflow import MLflowHook

    hook, found = MLflowHook(conn_id), {}
    # MLflow has no models with other names.
    models = [chain.subject for chain in chains if chain.subject and not set("'/:") & set(chain.subject)]
    for model in models:
        for version in hook.look(model).versions:
            for tag in (REGISTRATION_EVIDENCE, PROMOTION_EVIDENCE, REJECTION_EVIDENCE):
                if version.tags.get(tag):
                    found[version.tags[tag]] = f", which version {version.version} of {model!r} has in its tag {tag}"
    return found


def _unanchored(audits: Sequence[Audit], anchors: Mapping[str, str]) -> list[Finding]:
    """Find anchors that no chain holds.

    :param anchors: digest to where it stands, in words; empty if somebody gave it
    """
    from airflow_mlops.governance.ledger_findings import Finding

    held = {one for audit in audits for one in audit.anchored}
    text = "no document here has the digest {}{}: it was changed or removed, or the chain was written anew"
    return [
        Finding(number=None, last=None, file="", kind="anchor", message=text.format(digest, where))
        for digest, where in anchors.items()
        if digest not in held
    ]


def _sums(tree: Tree) -> tuple[Finding, ...]:
    """Check the list of digests that an export has."""
    from airflow_mlops.governance.checksums import SUMS, check_sums

    if SUMS not in tree.listing("")[0]:
        return ()
    names = list(tree.all_files())
    return check_sums(tree.read(SUMS), _Reading(tree.read), names)


class _Reading(dict[str, bytes]):
    """Files that are read when they are asked for, and not kept."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, name: str) -> bytes:
        return self._read(name)


def _counted(findings: int) -> str:
    return f"{findings} finding{'s' if findings > 1 else ''}"


def _tell(audit: Audit) -> None:
    verdict = _counted(len(audit.findings)) if audit.findings else "intact"
    signed = f", signed by {', '.join(audit.keys)}" if audit.keys else ""
    say(f"{audit.subject}: {audit.documents} documents, newest {audit.newest or 'unknown'}{signed}: {verdict}")
    for finding in audit.findings:
        say(f"  {finding.kind:<9}  {finding.message}")
    for note in audit.notes:
        say(f"  note       {note}")


def _summary(audits: Sequence[Audit], others: int) -> str:
    documents = sum(audit.documents for audit in audits)
    found = sum(len(audit.findings) for audit in audits) + others
    what = f"{documents} documents in {len(audits)} chain{'s' if len(audits) != 1 else ''}"
    return f"{what}: {_counted(found)}" if found else f"{what}: nothing is wrong"


def _row(chain: ChainFolder, name: str) -> dict[str, Any]:
    from airflow_mlops.governance.decided import reason_of
    from airflow_mlops.governance.ledger_files import read_stored, short

    row: dict[str, Any] = {"number": int(name[:6]), "at": "", "decision": "", "task": "", "digest": name[7:19]}
    try:
        stored = read_stored(chain.files[name], name, exact=False)
    except ContractError as error:
        return row | {"verdict": "unreadable", "what": str(error)}
    if short(stored.digest) != name[7:19]:
        return row | {"verdict": "unreadable", "what": f"{name}: it was changed, its name promises another content"}
    evidence = stored.evidence
    who = evidence.origin
    return row | {
        "at": datetime.fromtimestamp(evidence.decided_at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "decision": evidence.decision,
        "verdict": evidence.verdict.value,
        "task": f"{who.dag_id}.{who.task_id}" + (f"[{who.map_index}]" if who.map_index >= 0 else ""),
        "digest": short(stored.digest),
        "what": reason_of(evidence),
    }
