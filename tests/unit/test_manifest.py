from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from airflow_mlops.exceptions import ContractError, DigestMismatchError, SpecificationError
from airflow_mlops.manifest import hash_stream, manifest_of, verify
from airflow_mlops.references import DatasetRef, ImageRef, ModelRef

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two").write_bytes(b"22")
    (tmp_path / "a").write_bytes(b"1")
    return tmp_path


def test_files_are_listed_by_path(folder):
    manifest = manifest_of(folder)
    assert [(entry.path, entry.size_bytes) for entry in manifest.files] == [("a", 1), ("b/two", 2)]
    assert manifest.size_bytes == 3


def test_the_digest_is_of_paths_and_bytes_only(folder, tmp_path_factory):
    before = manifest_of(folder).digest
    os.utime(folder / "a", (0, 0))
    assert verify(folder, before).digest == before
    copy = tmp_path_factory.mktemp("copy")
    (copy / "a").write_bytes(b"1")
    (copy / "b").mkdir()
    (copy / "b" / "two").write_bytes(b"22")
    assert manifest_of(copy).digest == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda root: (root / "a").write_bytes(b"2"),
        lambda root: (root / "a").unlink(),
        lambda root: (root / "c").write_bytes(b""),
        lambda root: (root / "a").rename(root / "A"),
        lambda root: (root / "a").rename(root / "b" / "a"),
    ],
)
def test_every_change_is_found(folder, damage):
    digest = manifest_of(folder).digest
    damage(folder)
    with pytest.raises(DigestMismatchError, match=f"but {digest} was expected; the content changed"):
        verify(folder, digest)


def test_excluded_files_may_change(folder):
    digest = manifest_of(folder, exclude=["job.log"]).digest
    (folder / "job.log").write_text("noise")
    assert verify(folder, digest, exclude=["job.log"]).digest == digest


def test_a_single_file_is_a_manifest_of_one(folder):
    manifest = manifest_of(folder / "b" / "two")
    assert [entry.path for entry in manifest.files] == ["two"]


def test_nothing_is_refused(folder):
    with pytest.raises(ContractError, match="none: there is no file or directory here"):
        manifest_of(folder / "none")


def test_a_stream_is_hashed_in_pieces():
    assert hash_stream(io.BytesIO(b""), "x").sha256 == EMPTY
    entry = hash_stream(io.BytesIO(b"x" * 3_000_000), "x")
    assert entry.size_bytes == 3_000_000


@pytest.mark.parametrize(
    ("kind", "more"), [(ModelRef, {}), (ImageRef, {}), (DatasetRef, {"rows": 1})], ids=["model", "image", "dataset"]
)
def test_a_reference_needs_an_address_and_a_digest(kind, more):
    good = {"uri": "file:///x", "digest": "sha256:" + EMPTY, "format": "f", "size_bytes": 1} | more
    assert kind(**good).digest.endswith(EMPTY)
    with pytest.raises(SpecificationError, match=rf"{kind.__name__}\.uri: '' is not accepted; expected a non-empty"):
        kind(**good | {"uri": ""})
    for digest in ("", EMPTY, "sha256:xyz", "sha256:" + EMPTY.upper(), "sha256:" + EMPTY + "0"):
        with pytest.raises(SpecificationError, match="expected 'sha256:' and 64 hexadecimal digits"):
            kind(**good | {"digest": digest})
