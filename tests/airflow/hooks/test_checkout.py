"""The commit of a checkout, as git itself names it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from airflow_mlops.hooks.checkout import revision_of

if shutil.which("git") is None:
    pytest.skip("git is not installed here", allow_module_level=True)


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "dags").mkdir(parents=True)
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    _git(folder, "commit", "--quiet", "--allow-empty", "--message", "first")
    return folder


def test_of_a_branch_packed_or_not_of_a_detached_head_and_of_a_worktree(checkout, tmp_path):
    first = _git(checkout, "rev-parse", "HEAD")
    assert revision_of(checkout / "dags") == first
    _git(checkout, "pack-refs", "--all")
    assert revision_of(checkout) == first
    _git(checkout, "worktree", "add", "--quiet", str(tmp_path / "worktree"), "-b", "side")
    _git(tmp_path / "worktree", "commit", "--quiet", "--allow-empty", "--message", "second")
    assert revision_of(tmp_path / "worktree") == _git(tmp_path / "worktree", "rev-parse", "HEAD") != first
    _git(checkout, "checkout", "--quiet", "--detach", "side")
    assert revision_of(checkout) == _git(checkout, "rev-parse", "side")


def test_where_there_is_none(tmp_path):
    assert revision_of(tmp_path) is None
    (tmp_path / ".git").write_text("nonsense")
    assert revision_of(tmp_path / "dags") is None
