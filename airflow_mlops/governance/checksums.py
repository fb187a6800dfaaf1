"""The list of digests in an export, in the form that ``sha256sum -c`` reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping

from airflow_mlops.exceptions import ContractError
from airflow_mlops.governance.ledger_findings import Finding, Kind

__all__ = ["SUMS", "check_sums", "sums_of"]

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


def sums_of(files: Mapping[str, bytes]) -> bytes:
    """Return the list for these files, sorted by name."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def check_sums(listed: bytes, files: Mapping[str, bytes], names: Collection[str]) -> tuple[Finding, ...]:
    """Compare files with their list.

    :param listed: the list
    :param files: name to content; a lookup raises :class:`ContractError` for what cannot be read
    :param names: of all files that are there
    """
    expected, found = {}, []
    for line in listed.decode(errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in expected:
            found.append(_finding("changed", SUMS, f"{SUMS}: {line[:80]!r} is no line of such a list, or stands twice"))
        else:
            expected[match[2]] = match[1]
    for name, digest in expected.items():
        if name not in names:
            found.append(_finding("missing", name, f"{name}: it is in {SUMS}, and not here"))
            continue
        try:
            holds = hashlib.sha256(files[name]).hexdigest() == digest
        except ContractError as error:
            found.append(_finding("changed", name, str(error)))
            continue
        if not holds:
            found.append(_finding("changed", name, f"{name}: it has other bytes than {SUMS} says"))
    others = sorted(set(names) - set(expected) - {SUMS})
    return (*found, *(_finding("foreign", name, f"{name}: it is not in {SUMS}") for name in others))


def _finding(kind: Kind, name: str, message: str) -> Finding:
    return Finding(number=None, last=None, file=name, kind=kind, message=message)
