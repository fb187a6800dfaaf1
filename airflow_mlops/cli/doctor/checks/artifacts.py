"""Whether the artefact root can be written as models and evidence are, and read by whoever shows them."""

from __future__ import annotations

import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, tell, warn
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import MLOpsError

if TYPE_CHECKING:
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["evidence", "first_closed", "readers", "root"]

_SLOW_SECONDS = 2.0


def root(site: Site) -> Iterator[Finding]:
    """Write, replace, claim and remove a document as tasks do."""
    del site
    store = _store()
    if isinstance(store, Finding):
        yield store
        return
    folder = ("doctor", uuid.uuid4().hex)
    made = _missing_parents(store)
    began = time.monotonic()
    try:
        yield from _probe(store, folder)
    except Exception as error:  # noqa: BLE001 - file systems of all kinds raise all kinds
        yield failed(
            "artifact_root",
            f"{store.root} cannot be used: {type(error).__name__}: {error}",
            "correct the option, or give this user the right to read and write there",
        )
        return
    finally:
        _remove(store, folder, made)
    seconds = time.monotonic() - began
    yield tell(
        "speed",
        f"six small operations took {seconds:.2f} s",
        "a store that is so slow delays every task; look at the network between them",
        level="warn" if seconds > _SLOW_SECONDS else "ok",
    )


def _store() -> ArtifactStore | Finding:
    """Open the store, or say why there is none."""
    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.hooks.settings import option

    value = option("artifact_root")
    if value is None:
        return note("artifact_root", "not set, so nothing can be looked at; the area configuration says what to do")
    try:
        store = ArtifactStore.from_config()
        store.root.fs  # noqa: B018 - looks the file system up
    except Exception as error:  # noqa: BLE001 - file systems of all kinds raise all kinds
        return failed(
            "artifact_root",
            f"{value} cannot be opened: {type(error).__name__}: {error}",
            "correct the option, and install the provider and the file-system package of its scheme",
        )
    return store


def _probe(store: ArtifactStore, folder: tuple[str, ...]) -> Iterator[Finding]:
    from airflow_mlops.hooks.transfer import local_path

    store.write_bytes(b"first", *folder, "document")
    store.write_bytes(b"second", *folder, "document")
    found = store.read_bytes(*folder, "document")
    yield tell(
        "artifact_root",
        f"{store.root} can be written, replaced and read"
        if found == b"second"
        else f"{store.root} gives stale content",
        "use a store that shows at once what was written",
        level="ok" if found == b"second" else "fail",
    )
    local = local_path(store.uri(*folder))
    yield _locks(local) if local is not None else _claims(store, folder)


def _locks(folder: Path) -> Finding:
    """On a local root the writers of evidence take turns by a file lock; not every network file system has them."""
    with (folder / ".lock").open("a") as first, (folder / ".lock").open("a") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ok("writers take turns", "a lock on a file keeps a second writer out")
    return failed(
        "writers take turns",
        f"a lock in {folder.parent} keeps nobody out, so the evidence could fork",
        "mount it with locks (NFS: version 4, without nolock), or use an object store",
    )


def _claims(store: ArtifactStore, folder: tuple[str, ...]) -> Finding:
    """On object storage a writer of evidence claims a number by a write that fails where something lies already."""
    claim = store.path(*folder, "000001.claim")
    claim.fs.pipe_file(claim.path, b"first", mode="create")
    try:
        claim.fs.pipe_file(claim.path, b"second", mode="create")
    except FileExistsError:
        return ok("writers take turns", "a conditional write keeps a second writer out")
    return failed(
        "writers take turns",
        f"{store.root} lets a second writer replace what a first one claimed, so the evidence could fork",
        "use a store with conditional writes, and a file-system package that knows them (s3fs 2024.9, gcsfs, adlfs)",
    )


def _missing_parents(store: ArtifactStore) -> list[Path]:
    """Return the folders that the probe will make on a local root, the deepest first."""
    from airflow_mlops.hooks.transfer import local_path

    local = local_path(store.uri("doctor"))
    return [] if local is None else [one for one in (local, *local.parents) if not one.exists()]


def _remove(store: ArtifactStore, folder: tuple[str, ...], made: list[Path]) -> None:
    try:
        where = store.path(*folder)
        where.fs.rm(where.path, recursive=True)
        for one in made:
            one.rmdir()
    except Exception:  # noqa: BLE001 - what could not be written need not be removed, and the finding is told already
        return


def readers(site: Site) -> Iterator[Finding]:
    """Say whether the API server, which shows reports and evidence, can read the root."""
    from airflow_mlops.hooks.transfer import local_path

    del site
    store = _store()
    if isinstance(store, Finding):
        return  # the check before this one says why
    local = local_path(str(store.root))
    if local is None:
        yield note("API server", f"{store.root} must be readable by the API server too; that is not seen from here")
        return
    servers = _api_servers()
    if not servers:
        yield note(
            "API server",
            "none runs on this machine",
            f"where it runs, it must see the same content at {local}: a shared volume, mounted at the same path",
        )
    for pid, user, groups in servers:
        closed = first_closed(local, user, groups)
        yield tell(
            "API server",
            f"process {pid} may read {local}"
            if closed is None
            else f"process {pid}, user {user}, may not read {closed}",
            f"chmod o+rx {closed}, or run it as the user of the workers",
            level="ok" if closed is None else "fail",
        )


def _api_servers() -> list[tuple[int, int, frozenset[int]]]:
    """Return process, user and groups of this machine's API servers, the first of each user; none but on Linux."""
    found: dict[int, tuple[int, int, frozenset[int]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"-", b"_")
            if b"airflow" not in words or b"api_server" not in words:
                continue
            lines = (folder / "status").read_text().splitlines()
        except OSError:
            continue  # it has ended meanwhile
        values = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        user, groups = int(values["Uid"][1]), frozenset(map(int, (values["Gid"][1], *values.get("Groups", ()))))
        found.setdefault(user, (int(folder.name), user, groups))
    return sorted(found.values())


def first_closed(path: Path, user: int, groups: frozenset[int], *, below: Path | None = None) -> Path | None:
    """Return the first folder on the way that a user may not enter or, at its end, list; None if there is none.

    :param below: folders above this one are not looked at
    """
    if user == 0:
        return None
    end = path.resolve()
    for one in (*reversed(end.parents), end):
        if below is not None and not one.is_relative_to(below.resolve()):
            continue
        if not one.exists():
            return None  # nothing is there yet that could be read
        found = os.stat(one)  # noqa: PTH116 - the numbers are wanted
        shift = 6 if found.st_uid == user else 3 if found.st_gid in groups else 0
        wanted = stat.S_IXOTH | (stat.S_IROTH if one == end else 0)
        if (found.st_mode >> shift) & wanted != wanted:
            return one
    return None


def evidence(site: Site) -> Iterator[Finding]:
    """Verify the chain of every subject."""
    del site
    store = _store()
    if isinstance(store, Finding):
        yield store
        return
    subjects = store.evidence_subjects()
    if not subjects:
        yield note("chains", "no decision was taken yet")
        return
    broken = 0
    count = 0
    for subject in subjects:
        try:
            count += len(store.read_evidence(subject))
        except MLOpsError as error:
            broken += 1
            yield failed(
                subject,
                f"the chain of decisions does not verify: {error}",
                "find out who changed it, and restore the document from a backup: nothing else makes it whole",
            )
    if not broken:
        yield ok("chains", f"{count:,} decisions about {len(subjects)} subjects verify")
    elif broken < len(subjects):
        yield warn("chains", f"{broken} of {len(subjects)} do not verify", "see above")
