"""Chains of evidence wherever they lie: below an artefact root, in a copy of one, in an export or its zip.

Needs neither Airflow's database nor a network for what lies on this machine.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.ledger_files import DOCUMENT, HEAD, read_head
from airflow_mlops.hooks.names import original_name, safe_name
from airflow_mlops.hooks.transfer import local_path

__all__ = ["ChainFolder", "Tree", "chain_folders", "open_tree"]

_LOOKS = 5


@dataclass(frozen=True)
class Tree:
    """A folder, on any file system or in an archive.

    :param uri: where it is
    :param listing: returns the names of files and of folders directly in a folder, given relative to the tree
    :param read: returns a file's content; raises :class:`ContractError` if it cannot be read
    """

    uri: str
    listing: Callable[[str], tuple[list[str], list[str]]]
    read: Callable[[str], bytes]

    def all_files(self, folder: str = "") -> Iterator[str]:
        """Name every file at any depth."""
        files, folders = self.listing(folder)
        for name in sorted(files):
            yield _below(folder, name)
        for name in sorted(folders):
            yield from self.all_files(_below(folder, name))


@dataclass(frozen=True, kw_only=True)
class ChainFolder:
    """The files of one chain.

    :param folder: its name, empty if the tree itself is the folder
    :param subject: what its name says that the chain is about; None if it does not say
    """

    folder: str
    subject: str | None
    files: Mapping[str, bytes]


def open_tree(root: str) -> Tree:
    """Open a URI, a path of a folder, or a path of a zip file.

    :raises SpecificationError: if there is nothing
    """
    local = local_path(root) if "://" in root else Path(root).absolute()
    if local is not None and local.is_file():
        return _archive(local)
    uri = f"file://{local}" if local is not None else root.rstrip("/")
    where = ObjectStoragePath(uri)
    # Listings are cached by some file systems; the newest document must be seen.
    where.fs.invalidate_cache()
    if not where.fs.exists(where.path):
        raise SpecificationError("root", root, "a folder that exists, or a zip file of one")
    return Tree(uri=uri, listing=_folder_listing(where), read=_folder_reader(where))


def chain_folders(tree: Tree) -> tuple[ChainFolder, ...]:
    """Find the chains of a tree: those below its folder ``evidence``, or the one that it is itself.

    :raises ContractError: if it is neither
    """
    files, folders = tree.listing("")
    if "evidence" in folders:
        return tuple(_chain(tree, "evidence", name) for name in sorted(tree.listing("evidence")[1]))
    if any(DOCUMENT.fullmatch(name) for name in files):
        return (ChainFolder(folder="", subject=None, files=_snapshot(tree, "")),)
    raise ContractError(f"{tree.uri}: there is no folder 'evidence' here, and these are no documents of evidence")


def _chain(tree: Tree, parent: str, folder: str) -> ChainFolder:
    name = original_name(folder)
    subject = name if safe_name(name) == folder else None
    return ChainFolder(folder=folder, subject=subject, files=_snapshot(tree, _below(parent, folder)))


class _Files(Mapping[str, bytes]):
    """Files that are read when they are asked for; the head is as it was when they were listed."""

    def __init__(self, tree: Tree, folder: str, names: list[str], head: bytes | None) -> None:
        self._tree, self._folder, self._names, self._head = tree, folder, frozenset(names), head

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        return self._head if name == HEAD and self._head is not None else self._tree.read(_below(self._folder, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _snapshot(tree: Tree, folder: str) -> Mapping[str, bytes]:
    """List a chain's files so that the head fits them, although decisions may be written meanwhile."""
    names: list[str] = []
    head: bytes | None = None
    for _ in range(_LOOKS):
        # The head first: the documents that it counts are there by now.
        head = _head(tree, folder)
        files, folders = tree.listing(folder)
        names = [*files, *folders]
        if head is None or _fits(head, names):
            break
    if head is None and HEAD in names:
        names.remove(HEAD)  # written between the two looks
    return _Files(tree, folder, names, head)


def _head(tree: Tree, folder: str) -> bytes | None:
    return tree.read(_below(folder, HEAD)) if HEAD in tree.listing(folder)[0] else None


def _fits(head: bytes, names: list[str]) -> bool:
    try:
        count = read_head(head, HEAD).count
    except ContractError:
        return True
    numbers = {int(name[:6]) for name in names if DOCUMENT.fullmatch(name)}
    return numbers == set(range(1, len(numbers) + 1)) and count <= len(numbers) <= count + 1


def _folder_listing(where: ObjectStoragePath) -> Callable[[str], tuple[list[str], list[str]]]:
    def listing(folder: str) -> tuple[list[str], list[str]]:
        path = where / folder if folder else where
        path.fs.invalidate_cache()
        found: list[dict[str, Any]] = path.fs.ls(path.path, detail=True)
        itself = path.fs._strip_protocol(path.path).rstrip("/")  # noqa: SLF001 - fsspec's way to compare paths
        names: tuple[list[str], list[str]] = ([], [])
        for entry in found:
            name = str(entry["name"]).rstrip("/")
            if name != itself:  # object storage may list a mark of the folder
                names[entry["type"] == "directory"].append(name.rsplit("/", 1)[-1])
        return names

    return listing


def _folder_reader(where: ObjectStoragePath) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        path = where / name
        try:
            return bytes(path.fs.cat_file(path.path))
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise ContractError(f"{name}: it cannot be read ({error.strerror or type(error).__name__})") from error

    return read


def _archive(path: Path) -> Tree:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            contents = {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise ContractError(f"{path}: this is not a whole zip file ({error})") from error
    if len(contents) != len(entries):
        raise ContractError(f"{path}: a name stands in it more than once")

    def listing(folder: str) -> tuple[list[str], list[str]]:
        prefix = f"{folder}/" if folder else ""
        below = [name[len(prefix) :] for name in contents if name.startswith(prefix)]
        return (
            [name for name in below if "/" not in name],
            sorted({name.split("/", 1)[0] for name in below if "/" in name}),
        )

    def read(name: str) -> bytes:
        if name not in contents:
            raise ContractError(f"{name}: it is not in the archive")
        return contents[name]

    return Tree(uri=f"file://{path}", listing=listing, read=read)


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
