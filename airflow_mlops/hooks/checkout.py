"""Which commit a folder's git checkout is at, read from its files, and who wrote it: workers need not have git."""

from __future__ import annotations

from pathlib import Path

__all__ = ["author_of", "revision_of"]

_LENGTHS = (40, 64)


def revision_of(folder: Path) -> str | None:
    """Return the commit that the checkout around a folder is at; None if there is none, or none that can be read.

    What was changed since that commit does not show.

    :param folder: any folder in the checkout
    """
    for parent in (folder.resolve(), *folder.resolve().parents):
        marker = parent / ".git"
        try:
            if marker.is_dir():
                return _head(marker, marker)
            if marker.is_file():
                return _of_worktree(marker)
        except (OSError, UnicodeDecodeError):
            return None
    return None


def author_of(folder: Path, revision: str) -> tuple[str, str] | None:
    """Return name and mail address of who wrote a commit; None where there is no git, or it does not know the commit.

    :param folder: any folder in the checkout
    :param revision: the commit, in full
    """
    import subprocess

    if _commit(revision) is None:
        return None
    command = ["git", "-C", str(folder), "show", "--no-patch", "--no-show-signature", "--format=%an%n%ae", revision]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.splitlines()  # noqa: S603 - a fixed command with a checked commit
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return (said[0], said[1]) if len(said) == 2 and all(said) else None


def _of_worktree(marker: Path) -> str | None:
    kind, _, path = marker.read_text().strip().partition(": ")
    if kind != "gitdir":
        return None
    git = (marker.parent / path).resolve()
    common = git / "commondir"
    return _head(git, (git / common.read_text().strip()).resolve() if common.is_file() else git)


def _head(git: Path, common: Path) -> str | None:
    said = (git / "HEAD").read_text().strip()
    kind, _, name = said.partition(": ")
    if kind != "ref":
        return _commit(said)
    for folder in (git, common):
        if (folder / name).is_file():
            return _commit((folder / name).read_text().strip())
    packed = common / "packed-refs"
    lines = packed.read_text().splitlines() if packed.is_file() else []
    return next((_commit(line.split()[0]) for line in lines if line.split()[1:] == [name]), None)


def _commit(text: str) -> str | None:
    return text if len(text) in _LENGTHS and all(letter in "0123456789abcdef" for letter in text) else None
