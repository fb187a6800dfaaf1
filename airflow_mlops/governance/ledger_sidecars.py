"""The files beside a chain's documents: claims to numbers, and signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.exceptions import ContractError
from airflow_mlops.governance.ledger_files import (
    CLAIM,
    HEAD,
    SIGNATURE,
    Head,
    document_name,
    read_claim,
    read_signature,
    signature_name,
    stored_bytes,
)
from airflow_mlops.governance.ledger_findings import Link, Notebook, Position, numbers_of, spans
from airflow_mlops.loading import ModelSignature

__all__ = ["Signer", "check_claims", "check_signatures"]

#: Returns the id of the trusted key that made a signature, None if none did.
Signer = Callable[[ModelSignature], str | None]


def check_claims(files: Mapping[str, bytes], chain: Position, head: Head | None, book: Notebook) -> None:
    """Compare every claim with the document that has its number."""
    newest = max(chain, default=0)
    claims = {int(match[1]): name for name in sorted(files) if (match := CLAIM.fullmatch(name))}
    for number, name in claims.items():
        try:
            document, signature = read_claim(files[name], name)
            claimed = digest_of(document)
            beside = signature_name(document_name(number, claimed))
            differs = signature is not None and beside in files and files[beside] != stored_bytes(encode(signature))
        except (ContractError, ValueError) as error:
            book.add("changed", number, name, str(error))
            continue
        if number in chain:
            _compare(claimed, chain[number], name, book)
            if differs:
                book.add("signature", number, beside, f"{beside}: the claim {name} holds another signature")
        elif number == newest + 1 and (head is None or head.count < number):
            book.note(
                f"document {number} was claimed and not written: its writer was interrupted; the next completes it"
            )
        elif head is None or number > head.count:
            book.add(
                "foreign", number, name, f"{name}: a claim to number {number}, but the newest document is {newest}"
            )
    if claims:
        for first, last in spans(number for number in range(min(claims), newest + 1) if number not in claims):
            book.note(f"{numbers_of(first, last)[0]}: no claim, though documents before have one")


def _compare(claimed: str, links: list[Link], name: str, book: Notebook) -> None:
    if any(link.was(claimed) for link in links):
        return
    book.add(
        "fork", links[0].number, name, f"{name}: the number was claimed for {claimed}, and another document stands here"
    )


def check_signatures(
    files: Mapping[str, bytes], chain: Position, head: Head | None, signer: Signer | None, book: Notebook
) -> tuple[str, ...]:
    """Compare every signature with its document, demand those that have to be there, return the keys that signed."""
    documents = {link.name: link for links in chain.values() for link in links}
    found = {match.string: match for name in sorted(files) if (match := SIGNATURE.fullmatch(name))}
    newest, keys = max(chain, default=0), set()
    for name, match in found.items():
        link = documents.get(f"{match[1]}-{match[2]}.json")
        if link is not None:
            keys.add(_check(files, name, link, signer, book))
        elif int(match[1]) == newest + 1 and (head is None or head.count <= newest):
            book.note(f"{name}: a signature without its document: the writer was interrupted before it wrote that")
        else:
            book.add("foreign", int(match[1]), name, f"{name}: the signature of a document that is not here")
    if found and signer is None:
        book.note("signatures were not checked: give the public key of whoever signs")
    _demand(set(found), chain, head, signer, book)
    return tuple(sorted(key for key in keys if key))


def _check(files: Mapping[str, bytes], name: str, link: Link, signer: Signer | None, book: Notebook) -> str | None:
    try:
        signature = read_signature(files[name], name)
    except ContractError as error:
        book.add("signature", link.number, name, str(error))
        return None
    if not link.was(signature.digest):
        book.add("signature", link.number, name, f"{name}: it signs {signature.digest}, the document has {link.digest}")
        return None
    key = None if signer is None else signer(signature)
    if signer is not None and key is None:
        text = (
            f"{name}: this signature, by its own words of the key {signature.key_id[:19]}…, is by no key that was given"
        )
        book.add("signature", link.number, name, text)
    return key


def _demand(found: set[str], chain: Position, head: Head | None, signer: Signer | None, book: Notebook) -> None:
    """Signatures have to be there from where the head says so, or everywhere if a key is given and it says nothing."""
    begin = head.signed_from if head is not None else None
    if begin is None and signer is None:
        return
    if begin is not None and begin > 1:
        said = numbers_of(1, begin - 1)[0]
        book.note(f"{said}: written before signing began; the first signature after them covers their digests")
        early = [name for name in sorted(found) if int(name[:6]) < begin]
        if early:
            book.add("head", None, HEAD, f"{HEAD}: it lets signing begin at document {begin}, but {early[0]} is there")
    bare = {
        number
        for number, links in sorted(chain.items())
        if number >= (begin or 1) and not all(signature_name(link.name) in found for link in links)
    }
    for first, last in spans(sorted(bare)):
        said, verb = numbers_of(first, last)
        name = signature_name(chain[first][0].name)
        book.add("signature", first, name, f"{said} {verb} not signed", last=last)
