"""Reading evidence for pages: only what a page shows, newest first, each document once.

A document never changes, and its name holds the beginning of its digest: what was read stays in a bounded cache. What
does not verify is told beside what does; whether a whole chain holds, the command ``airflow mlops audit verify`` says.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.decided import Document, is_moment, slot_of
from airflow_mlops.governance.overview import slots_wanted
from airflow_mlops.hooks.evidence import names, subjects
from airflow_mlops.hooks.evidence_writing import head_of, stored_document
from airflow_mlops.hooks.transfer import local_path

if TYPE_CHECKING:
    from airflow_mlops.governance.ledger_files import Head
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["Chain", "EvidenceReader", "Extract", "Problem"]

_AT_ONCE = 8
_KEPT = {"gate": 20, "approval": 40}


@dataclass(frozen=True, order=True)
class Problem:
    """A place at which evidence does not verify.

    :param number: of the document
    :param name: its file
    :param message: what is wrong, one sentence
    """

    number: int
    name: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Extract:
    """Documents of a chain.

    :param documents: those that verify, oldest first
    :param problems: where something does not
    :param total: number of the newest document
    :param looked_back_to: number of the oldest that was looked at
    """

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...] = ()
    total: int = 0
    looked_back_to: int = 1


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The names of a subject's documents.

    :param names: number to file name
    :param total: number of the newest document, 0 if there is none
    :param problems: numbers that are missing or stand twice
    """

    subject: str
    names: dict[int, str]
    total: int
    problems: tuple[Problem, ...] = ()


@dataclass
class _Walk:
    """How far back a subject was looked at, and the newest documents of each kind."""

    newest: int = 0
    oldest: int = 1
    kept: dict[str, list[Document]] = field(default_factory=dict)
    problems: set[Problem] = field(default_factory=set)

    def keep(self, document: Document) -> None:
        slot = slot_of(document.evidence)
        numbers = {one.number: one for one in (*self.kept.get(slot, ()), document)}
        newest = sorted(numbers, reverse=True)[: _KEPT.get(slot, 1)]
        self.kept[slot] = [numbers[number] for number in newest]

    @property
    def is_done(self) -> bool:
        return self.oldest <= 1 or slots_wanted() <= self.kept.keys()


class EvidenceReader:
    """Reads the evidence of one store for pages; one for all requests of a process.

    :param documents: how many documents are kept in memory
    """

    def __init__(self, store: ArtifactStore, *, documents: int = 500) -> None:
        self._store = store
        self._limit = documents
        self._cache: OrderedDict[tuple[str, str], Document] = OrderedDict()
        self._walks: OrderedDict[str, _Walk] = OrderedDict()
        self._lock = threading.Lock()
        # One request at a time looks back in a chain; those about other models, but for a sixteenth, do not wait.
        self._looking = tuple(threading.Lock() for _ in range(16))
        self._pool = None if local_path(str(store.root)) is not None else ThreadPoolExecutor(_AT_ONCE, "evidence")

    def subjects(self) -> tuple[str, ...]:
        """Return the names of everything that decisions were taken about, sorted."""
        return subjects(self._store)

    def chain(self, subject: str) -> Chain:
        """List a subject's documents without reading them; none if the name is no subject's."""
        head, problems = self._head(subject)  # first: the documents that it counts are there by now
        found: dict[int, str] = {}
        for name in names(self._store, subject):
            number = int(name.split("-", 1)[0])
            if number in found:
                problems.append(Problem(number, name, f"number {number} of the chain stands twice"))
            found.setdefault(number, name)
        newest = max(found, default=0)
        missing = [number for number in range(1, newest) if number not in found]
        problems += [Problem(number, "", f"number {number} of the chain is missing") for number in missing[:20]]
        if head is not None and head.count > newest:
            words = f"{head.count} documents were written, and the newest here is number {newest}"
            problems.append(Problem(head.count, "", words))
        return Chain(subject=subject, names=found, total=newest, problems=tuple(problems))

    def extract(self, chain: Chain, numbers: Iterable[int]) -> Extract:
        """Read some documents of a chain, and verify each against its name and the one before it.

        :param numbers: of the documents, one after the other
        """
        wanted = sorted(number for number in set(numbers) if 1 <= number <= chain.total)
        documents: dict[int, Document] = {}
        problems = []
        # The one before the first is read too, so that the first's link can be verified.
        known = [number for number in (*(wanted[:1] and [wanted[0] - 1]), *wanted) if number in chain.names]
        for number, found in zip(known, self._read(chain, known), strict=True):
            if isinstance(found, Problem):
                problems.append(found)
            else:
                documents[number] = found
        problems += [problem for number in wanted if (problem := _broken(chain, documents, number)) is not None]
        low, high = (wanted[0], wanted[-1]) if wanted else (1, 0)
        # What is wrong with the chain's end, or with its head, is told with its newest document.
        problems += [one for one in chain.problems if low <= one.number <= high or high == chain.total < one.number]
        return Extract(
            documents=tuple(documents[number] for number in wanted if number in documents),
            problems=tuple(sorted(set(problems))),
            total=chain.total,
            looked_back_to=low,
        )

    def page(self, chain: Chain, before: int | None, size: int) -> Extract:
        """Read the newest documents, or those before a number."""
        last = chain.total if before is None else min(before - 1, chain.total)
        return self.extract(chain, range(max(1, last - size + 1), last + 1))

    def newest_of_each_kind(self, chain: Chain, *, at_least: int, more: int = 0) -> Extract:
        """Read back from the newest document until an overview is complete.

        What was read stays known, so that every call goes on from where the last one ended.

        :param at_least: how many documents are looked at, unless the overview is complete before
        :param more: how many further ones a call may read
        """
        with self._looking[hash(chain.subject) % len(self._looking)]:
            walk = self._walk(chain, at_least)
            budget = max(more, at_least - (walk.newest - walk.oldest + 1))
            while not walk.is_done and budget > 0:
                step = min(25, budget, walk.oldest - 1)
                self._visit(walk, chain, range(walk.oldest - step, walk.oldest))
                walk.oldest -= step
                budget -= step
            kept = sorted({one.number: one for many in walk.kept.values() for one in many}.items())
            problems = tuple(sorted({*walk.problems, *chain.problems}))
            looked_back_to = walk.oldest
        documents = tuple(document for _, document in kept)
        return Extract(documents=documents, problems=problems, total=chain.total, looked_back_to=looked_back_to)

    def position(self, chain: Chain, moment: float) -> int:
        """Return the number of the first document decided at or after a moment, by halving; total + 1 for none.

        Documents are appended in the order of their decisions, give or take the clocks of two machines.
        """
        low, high = 1, chain.total + 1
        while low < high:
            middle = (low + high) // 2
            name = chain.names.get(middle)
            found = None if name is None else self._document(chain.subject, middle, name)
            if isinstance(found, Document) and found.evidence.decided_at >= moment:
                high = middle
            else:
                low = middle + 1
        return low

    def _walk(self, chain: Chain, at_least: int) -> _Walk:
        with self._lock:
            walk = self._walks.pop(chain.subject, None)
        if walk is None or walk.newest > chain.total or chain.total - walk.newest > max(at_least, 50):
            walk = _Walk(newest=chain.total, oldest=chain.total + 1)
        elif walk.newest < chain.total:
            self._visit(walk, chain, range(walk.newest + 1, chain.total + 1))
            walk.newest = chain.total
        with self._lock:
            self._walks[chain.subject] = walk
            while len(self._walks) > self._limit:
                self._walks.popitem(last=False)
        return walk

    def _visit(self, walk: _Walk, chain: Chain, numbers: Sequence[int]) -> None:
        found = self.extract(chain, numbers)
        walk.problems.update(found.problems[: max(0, 20 - len(walk.problems))])
        for document in found.documents:
            walk.keep(document)

    def _head(self, subject: str) -> tuple[Head | None, list[Problem]]:
        try:
            return head_of(self._store, subject), []
        except ContractError as error:
            return None, [Problem(0, "", _without_place(str(error)))]

    def _read(self, chain: Chain, numbers: Sequence[int]) -> Iterable[Document | Problem]:
        def one(number: int) -> Document | Problem:
            return self._document(chain.subject, number, chain.names[number])

        # A file is there at once; an object store is asked for several at a time.
        return map(one, numbers) if self._pool is None else self._pool.map(one, numbers)

    def _document(self, subject: str, number: int, name: str) -> Document | Problem:
        with self._lock:
            if (subject, name) in self._cache:
                self._cache.move_to_end((subject, name))
                return self._cache[subject, name]
        try:
            stored = stored_document(self._store, subject, name)
        except (ContractError, SpecificationError) as error:
            return Problem(number, name, _without_place(str(error)))
        if not is_moment(stored.evidence.decided_at):
            return Problem(number, name, f"decided_at: {stored.evidence.decided_at} is no time")
        found = Document(number=number, digest=stored.digest, evidence=stored.evidence)
        with self._lock:
            self._cache[subject, name] = found
            while len(self._cache) > self._limit:
                self._cache.popitem(last=False)
        return found


def _broken(chain: Chain, documents: dict[int, Document], number: int) -> Problem | None:
    here, before = documents.get(number), documents.get(number - 1)
    if here is None or (number > 1 and before is None):
        return None  # told by itself already
    if here.evidence.previous == (None if before is None else before.digest):
        return None
    message = f"number {number} of the chain does not follow number {number - 1}: one of them was changed or moved"
    return Problem(number, chain.names[number], message if number > 1 else "the first document names one before it")


def _without_place(message: str) -> str:
    """Leave out where the store lies; a page says which document it is."""
    return message.split(".json: ", 1)[-1]
