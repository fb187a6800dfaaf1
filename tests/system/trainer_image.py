"""The trainer's image, built once for all tests and processes that need it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["trainer_image"]

ROOT = Path(__file__).parents[2]
_REPOSITORY = "mlops-trainer"
_BASE_IMAGE = os.environ.get("MLOPS_BASE_IMAGE", "python:3.11-slim-bookworm")
#: What the image is made from.
_SOURCES = ("airflow_mlops", "docker", "pyproject.toml", "README.md", "LICENSE")


def trainer_image() -> str:
    """Return the image that MLOPS_TRAINER_IMAGE names, else one of this source.

    Its tag is the digest of the source, so it is there at the next call, in this process or another; it takes the
    place of the one before.

    :raises RuntimeError: if it cannot be built
    """
    given = os.environ.get("MLOPS_TRAINER_IMAGE")
    if given:
        return given
    tag = f"{_REPOSITORY}:test-{_digest()}"
    with Path(tempfile.gettempdir(), "mlops-trainer-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _docker("images", "--quiet", tag):
            before = _docker("images", "--format", "{{.Repository}}:{{.Tag}}", _REPOSITORY).split()
            _build(tag)
            for old in before:
                if old.startswith(f"{_REPOSITORY}:test-"):
                    _docker("rmi", old, check=False)  # one that a container still runs stays
    return tag


def _build(tag: str) -> None:
    _docker(
        *("build", "--force-rm", "--network", "host", "--build-arg", f"BASE_IMAGE={_BASE_IMAGE}"),
        *("--build-arg", "REVISION=test", "--file", "docker/trainer/Dockerfile", "--tag", tag, "."),
    )


def _docker(*arguments: str, check: bool = True) -> str:
    command: Sequence[str] = ("docker", *arguments)
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _digest() -> str:
    digest = hashlib.sha256(_BASE_IMAGE.encode())
    for source in _SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(b"\0".join((str(file.relative_to(ROOT)).encode(), file.read_bytes())))
    return digest.hexdigest()[:12]
