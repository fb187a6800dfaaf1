"""Checking a chain of evidence from nothing but its files.

Every document holds the digest of the one before it (a hash chain, as in Haber and Stornetta, "How to time-stamp a
digital document", 1991), its name holds the begin of its own, and the head beside them says how many there are. So a
change of what is there is seen. Whoever may write to the folder can still make a whole new chain with a head that fits:
that is seen by a signature that they cannot make, or by a digest that was kept where they cannot write (an anchor).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from airflow_mlops.exceptions import ContractError
from airflow_mlops.governance.ledger_files import (
    CLAIM,
    DOCUMENT,
    HEAD,
    LOCK,
    SIGNATURE,
    TEMPORARY,
    Head,
    read_head,
    read_stored,
    short,
)
from airflow_mlops.governance.ledger_findings import Finding, Link, Notebook, Position, numbers_of, spans
from airflow_mlops.governance.ledger_sidecars import Signer, check_claims, check_signatures

__all__ = ["Audit", "verify"]

_KNOWN = (DOCUMENT, SIGNATURE, CLAIM, TEMPORARY)


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the files of one chain show.

    :param subject: what the decisions are about
    :param documents: how many there are
    :param newest: digest of the newest document; kept elsewhere, it is an anchor for all that came before
    :param keys: ids of the keys whose signatures hold
    :param anchored: those of the anchors that the chain holds
    :param findings: what shows that the chain is not what was written; empty if nothing does
    :param notes: what is worth knowing and shows nothing of the kind
    """

    subject: str
    documents: int
    newest: str | None
    keys: tuple[str, ...]
    anchored: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def verify(
    files: Mapping[str, bytes],
    *,
    subject: str | None = None,
    signer: Signer | None = None,
    anchors: Collection[str] = (),
) -> Audit:
    """Check a chain, and say everything that is wrong with it.

    :param files: every file of the chain's folder: name to content; one that raises :class:`ContractError` when it is
        looked up counts as unreadable
    :param subject: what the chain has to be about; None takes that of its first document
    :param signer: returns the id of the trusted key that made a signature, None if none did. If given, documents have
        to be signed
    :param anchors: digests of documents that may be in the chain
    """
    book = Notebook()
    chain: Position = {}
    for name in sorted(files):
        if DOCUMENT.fullmatch(name):
            link = _link(files, name, book)
            chain.setdefault(link.number, []).append(link)
    head = _head(files, book)
    about = subject or _subject(chain, head)
    _check_words(chain, about, book)
    _check_positions(chain, head, book)
    _check_links(chain, book)
    _check_head(head, chain, about, files, book)
    check_claims(files, chain, head, book)
    keys = check_signatures(files, chain, head, signer, book)
    _check_others(files, book)
    digests = {link.digest for links in chain.values() for link in links if link.is_whole}
    newest = chain[max(chain)] if chain else []
    return Audit(
        subject=about,
        documents=sum(map(len, chain.values())),
        newest=newest[0].digest if len(newest) == 1 else None,
        keys=keys,
        anchored=tuple(one for one in anchors if one in digests),
        findings=book.sorted_findings(),
        notes=tuple(book.notes),
    )


def _link(files: Mapping[str, bytes], name: str, book: Notebook) -> Link:
    number, promised = int(name[:6]), name[7:19]
    try:
        stored = read_stored(files[name], name)
    except ContractError as error:
        book.add("changed", number, name, str(error))
        return Link(number=number, name=name, promised=promised)
    if not stored.exact:
        text = f"{name}: it says what was written, in other bytes: spaces, line ends, order of keys or form of numbers"
        book.add("changed", number, name, text)
    return Link(
        number=number,
        name=name,
        promised=promised,
        digest=stored.digest,
        previous=stored.evidence.previous,
        own_number=stored.evidence.number,
        subject=stored.evidence.subject,
    )


def _head(files: Mapping[str, bytes], book: Notebook) -> Head | None:
    if HEAD not in files:
        return None
    try:
        return read_head(files[HEAD], HEAD)
    except ContractError as error:
        book.add("head", None, HEAD, str(error))
        return None


def _subject(chain: Position, head: Head | None) -> str:
    said = (link.subject for number in sorted(chain) for link in chain[number] if link.subject)
    return next(said, head.subject if head else "")


def _check_words(chain: Position, subject: str, book: Notebook) -> None:
    """Compare what every document says of itself with its name and with the others."""
    promises = {link.promised: number for number, links in chain.items() for link in links}
    numbered = False
    for number in sorted(chain):
        for link in chain[number]:
            if link.digest is None:
                continue
            if not link.is_whole:
                owner = promises.get(short(link.digest))
                said = f"what it says belongs to document {owner}" if owner else f"what it says has {link.digest}"
                text = f"{link.name}: {said}, its name promises {link.promised}…"
                book.add("moved" if owner else "changed", number, link.name, text)
            elif link.own_number not in (None, number):
                text = f"{link.name}: it says of itself that it is document {link.own_number}"
                book.add("moved", number, link.name, text)
            elif link.own_number is None and numbered:
                text = f"{link.name}: it gives itself no number, though a document before it does"
                book.add("foreign", number, link.name, text)
            if link.subject != subject:
                book.add("foreign", number, link.name, f"{link.name}: it is about {link.subject!r}, not {subject!r}")
        numbered = numbered or any(link.own_number is not None for link in chain[number])


def _check_positions(chain: Position, head: Head | None, book: Notebook) -> None:
    """Look for numbers that have no document, or more than one."""
    newest = max(chain, default=0)
    for first, last in spans(number for number in range(1, newest + 1) if number not in chain):
        said, verb = numbers_of(first, last)
        book.add("missing", first, f"{first:06d}-….json", f"{said} {verb} missing", last=last)
    if head is not None and head.count > newest:
        said, verb = numbers_of(newest + 1, head.count)
        text = f"{said} {verb} missing: the head counts {head.count} documents"
        book.add("missing", newest + 1, f"{newest + 1:06d}-….json", text, last=head.count)
    for number, links in chain.items():
        if len(links) > 1:
            followed = {link.previous for link in chain.get(number + 1, [])} | ({head.digest} if head else set())
            led = [link.name for link in links if link.digest in followed]
            names = " and ".join(link.name for link in links)
            text = (
                f"number {number} stands {len(links)} times: {names}; what follows names {' and '.join(led) or 'none'}"
            )
            book.add("fork", number, links[0].name, text)


def _check_links(chain: Position, book: Notebook) -> None:
    """Check that every document follows the one before it."""
    for number, links in chain.items():
        before = chain.get(number - 1, [])
        if number > 1 and not before:
            continue
        for link in links:
            # A document that was changed is a finding of its own; its name still says what was there.
            if not link.is_whole or (link.previous and any(one.was(link.previous) for one in before)):
                continue
            if number == 1 and link.previous is None:
                continue
            there = " or ".join(one.digest or "unreadable" for one in before) or "none"
            text = (
                f"{link.name}: it follows {link.previous}, the document before it is {there}: one of them was replaced"
            )
            book.add("link", number, link.name, text)


def _check_head(head: Head | None, chain: Position, subject: str, files: Mapping[str, bytes], book: Notebook) -> None:
    """Compare the head with the documents."""
    newest = max(chain, default=0)
    if head is None:
        if HEAD not in files:
            _check_headless(chain, book)
        return
    if head.subject != subject:
        book.add("head", None, HEAD, f"{HEAD}: it is about {head.subject!r}, not {subject!r}")
    counted = chain.get(head.count, [])
    if counted and not any(link.was(head.digest) for link in counted):
        there = " and ".join(link.digest or "unreadable" for link in counted)
        text = f"{HEAD}: document {head.count} has {there}, the head says {head.digest}: one of them was replaced"
        book.add("head", head.count, HEAD, text)
    if newest == head.count + 1:
        book.note(
            f"document {newest} is not in the head yet: it is being written, its writer was interrupted, or it was put "
            "there by hand; the next writer completes the head"
        )
    elif newest > head.count:
        text = (
            f"{HEAD}: it counts {head.count} documents, and there are {newest}; an interrupted writer leaves one more"
        )
        book.add("head", head.count + 1, HEAD, text, last=newest)


def _check_headless(chain: Position, book: Notebook) -> None:
    numbered = [link.number for links in chain.values() for link in links if link.own_number is not None]
    if not chain:
        book.note("there are no documents")
    elif not numbered:
        book.note(
            "there is no head: the documents are of an earlier version; whether newest ones are missing cannot be told "
            "without an anchor. The next decision writes a head"
        )
    elif len(numbered) == 1 and numbered[0] == max(chain):
        book.note("there is no head yet: the writer of the first numbered document was interrupted")
    else:
        book.add("head", None, HEAD, f"{HEAD} is missing; whether newest documents are missing too cannot be told")


def _check_others(files: Mapping[str, bytes], book: Notebook) -> None:
    left = [name for name in files if TEMPORARY.fullmatch(name)]
    if left:
        book.note(f"left unfinished by interrupted writers: {', '.join(sorted(left))}")
    for name in sorted(files):
        if name not in (HEAD, LOCK) and not any(one.fullmatch(name) for one in _KNOWN):
            book.add("foreign", None, name, f"{name}: no file of a chain has such a name")
