"""What decides whether an image is built again."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from airflow_mlops.exceptions import SpecificationError

pytest.importorskip("docker")

from airflow_mlops.adapters.images.context import BuildContext


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / ".dockerignore").write_text("# comment\n\n*\n!kept\n!kept/**\n**/*.pyc\n")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.py").write_text("a")
    (tmp_path / "kept" / "a.pyc").write_text("x")
    (tmp_path / "left").write_text("left")
    (tmp_path / "kept" / "link").symlink_to("a.py")
    return tmp_path


def digest(folder, **fields):
    return BuildContext(folder=folder, **fields).digest()


def test_ignored_files_times_and_order_do_not_count(folder):
    before = digest(folder, build_args={"A": "1", "B": "2"})
    (folder / "left").write_text("other")
    (folder / "kept" / "a.pyc").write_text("other")
    os.utime(folder / "kept" / "a.py", (0, 0))
    assert digest(folder, build_args={"B": "2", "A": "1"}) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "kept" / "a.py").write_text("b"),
        lambda folder: (folder / "kept" / "a.py").chmod(0o755),
        lambda folder: (folder / "kept" / "a.py").rename(folder / "kept" / "b.py"),
        lambda folder: (folder / "Dockerfile").write_text("FROM scratch\nUSER 1\n"),
        lambda folder: (folder / "kept" / "empty").mkdir(),
        lambda folder: ((folder / "kept" / "link").unlink(), (folder / "kept" / "link").symlink_to("a.pyc")),
    ],
    ids=["content", "mode", "name", "dockerfile", "folder", "link"],
)
def test_whatever_the_image_would_show_counts(folder, change):
    before = digest(folder)
    change(folder)
    assert digest(folder) != before


def test_arguments_and_target_count(folder):
    assert len({digest(folder), digest(folder, build_args={"A": "1"}), digest(folder, target="build")}) == 3


def test_the_archive_holds_what_counts_and_names_nobody(folder):
    stream = io.BytesIO()
    BuildContext(folder=folder).archive(stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        entries = {entry.name: entry for entry in archive}
    assert {"Dockerfile", "kept", "kept/a.py", "kept/link"} <= set(entries)
    assert not {"left", "kept/a.pyc"} & set(entries)
    assert {(entry.uid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, "", 0)}


@pytest.mark.parametrize("dockerfile", ["Nofile", "../Dockerfile", "kept"])
def test_dockerfile_must_lie_in_the_folder(folder, dockerfile):
    with pytest.raises(SpecificationError, match=r"^dockerfile: .* expected a file below"):
        BuildContext(folder=folder, dockerfile=dockerfile)
    with pytest.raises(SpecificationError, match=r"^context: .* expected a folder that exists"):
        BuildContext(folder=folder / "none")
