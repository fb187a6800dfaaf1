"""What an audit collects while it looks at the files of a chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from airflow_mlops.governance.ledger_files import short

__all__ = ["Finding", "Kind", "Link", "Notebook", "Position", "numbers_of", "spans"]

#: ``changed``: other bytes than were written; ``missing``: not there; ``moved``: it belongs elsewhere; ``fork``: two
#: for one number; ``link``: it does not follow the one before it; ``foreign``: nothing that belongs here; ``head``,
#: ``signature`` and ``anchor``: what these promise does not hold.
Kind = Literal["changed", "missing", "moved", "fork", "link", "foreign", "head", "signature", "anchor"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that shows that the chain is not what was written.

    :param number: of the document, None where it is about no document
    :param last: of the last document where it is about several in a row, otherwise equal to ``number``
    :param file: name of the file that shows it
    :param message: what is wrong, one sentence
    """

    number: int | None
    last: int | None
    file: str
    kind: Kind
    message: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """A document as the chain sees it.

    :param number: of its name
    :param promised: begin of the digest, of its name
    :param digest: of what it says, None if it cannot be read
    :param previous: the digest that it follows
    :param own_number: the number that it gives itself, None in documents of earlier versions
    :param subject: what it is about
    """

    number: int
    name: str
    promised: str
    digest: str | None = None
    previous: str | None = None
    own_number: int | None = None
    subject: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it says what its name promises."""
        return self.digest is not None and short(self.digest) == self.promised

    def was(self, digest: str) -> bool:
        """Whether this is the document with a digest, or was before it was changed, by its name."""
        return self.digest == digest or (not self.is_whole and short(digest) == self.promised)


#: All documents of each number; more than one only where the chain forks.
Position = dict[int, list[Link]]


@dataclass
class Notebook:
    """Findings, and what is worth saying without being one."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: Kind, number: int | None, file: str, message: str, *, last: int | None = None) -> None:
        """Put a finding down."""
        self.findings.append(Finding(number=number, last=last or number, file=file, kind=kind, message=message))

    def note(self, text: str) -> None:
        """Put down what is no finding."""
        self.notes.append(text)

    def sorted_findings(self) -> tuple[Finding, ...]:
        """Return the findings by number; those about no document come last."""
        return tuple(sorted(self.findings, key=lambda one: (one.number is None, one.number or 0, one.file, one.kind)))


def spans(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Gather ascending numbers into first and last of each unbroken row."""
    first = last = None
    for number in numbers:
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = None
        first, last = number if first is None else first, number
    if first is not None and last is not None:
        yield first, last


def numbers_of(first: int, last: int) -> Sequence[str]:
    """Say ``document 3 is`` or ``documents 3 to 7 are``: subject and verb."""
    return (f"document {first}", "is") if first == last else (f"documents {first} to {last}", "are")
