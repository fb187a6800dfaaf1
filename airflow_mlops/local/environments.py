"""The model environment: a second Python environment in which models are trained, judged and served.

It is named by the digest of its requirements, so that changed pins make another one. airflow-mlops itself is copied in
without its dependencies: Airflow is not installed there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local import lock
from airflow_mlops.local.report import last_lines
from airflow_mlops.manifest import FileEntry, Manifest, hash_stream

__all__ = ["PYTHON_VARIABLE", "REQUIREMENTS_VARIABLE", "find_requirements", "model_environment"]

PYTHON_VARIABLE = "MLOPS_MODEL_PYTHON"
REQUIREMENTS_VARIABLE = "MLOPS_MODEL_REQUIREMENTS"
_PACKAGE = Path(__file__).resolve().parent.parent
_PARTS = ("trainer", "server")
_INSTALL_WAIT_SECONDS = 1800.0

Progress = Callable[[str], None]


def model_environment(envs: Path, *, requirements: Sequence[Path] = (), progress: Progress) -> Path:
    """Return the interpreter of the model environment, which is made if there is none yet.

    :param envs: folder that holds the environments
    :param requirements: requirement files; empty takes those that come with the package
    :param progress: gets a line of text before anything that takes long
    :raises PermanentAdapterError: if the environment cannot be made; the message names pip's log
    :raises SpecificationError: if a named file does not exist
    """
    given = os.environ.get(PYTHON_VARIABLE)
    if given:
        python = Path(given).expanduser().absolute()
        if not os.access(python, os.X_OK):
            raise SpecificationError(PYTHON_VARIABLE, given, "the path of a Python interpreter that exists")
        return python
    files = find_requirements(requirements)
    content = [path.read_text(encoding="utf-8") for path in files]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = envs.resolve() / f"model-{digest_of([version, *content]).removeprefix('sha256:')[:12]}"
    held = lock.acquire(envs / f".{folder.name}.lock", wait_seconds=_INSTALL_WAIT_SECONDS)
    if held is None:
        raise PermanentAdapterError(f"{folder}: another process has been making this environment for too long")
    with held:
        if not _marker(folder).exists():
            _make(folder, files, progress)
        _copy_package(folder)
    return _python(folder)


def find_requirements(given: Sequence[Path] = ()) -> list[Path]:
    """Return the requirement files of the model environment.

    In this order: what is given, the variable ``MLOPS_MODEL_REQUIREMENTS``, what is inside the installed package,
    ``docker/*/requirements.txt`` of a checkout.

    :raises SpecificationError: if a named file does not exist, or there is none at all
    """
    named = [*given] or [Path(item) for item in os.environ.get(REQUIREMENTS_VARIABLE, "").split(os.pathsep) if item]
    for path in named:
        if not path.is_file():
            raise SpecificationError("requirements", str(path), "the path of a file that exists")
    if named:
        return named
    packaged = [_PACKAGE / "container" / "requirements" / f"{part}.txt" for part in _PARTS]
    checkout = [_PACKAGE.parent / "docker" / part / "requirements.txt" for part in _PARTS]
    for candidates in (packaged, checkout):
        if all(path.is_file() for path in candidates):
            return candidates
    raise SpecificationError("requirements", None, f"requirement files, by --requirements or {REQUIREMENTS_VARIABLE}")


def _make(folder: Path, requirements: Sequence[Path], progress: Progress) -> None:
    log = folder.with_suffix(".log")
    progress(f"making the model environment, some minutes; pip's output is in {log}")
    # What a killed installation left is not worth keeping: the marker comes last.
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with_pip = importlib.util.find_spec("pip") is None
    create = [sys.executable, "-m", "venv", *(() if with_pip else ("--without-pip",)), str(folder)]
    # pip of this environment installs into the other one, which needs no pip of its own then.
    pip = (
        [str(_python(folder)), "-m", "pip"]
        if with_pip
        else [sys.executable, "-m", "pip", "--python", str(_python(folder))]
    )
    install = [*pip, "install", "--disable-pip-version-check", "--no-input"]
    install += [word for path in requirements for word in ("--requirement", str(path))]
    with log.open("wb") as output:
        for command in (create, install):
            status = subprocess.run(  # noqa: S603 - pip of this interpreter
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
            ).returncode
            if status != 0:
                raise PermanentAdapterError(
                    f"the model environment cannot be made: {' '.join(command[:4])} … ended with status {status}; "
                    f"last lines of {log}:\n{last_lines(log)}"
                )
    atomic_write_json(_marker(folder), {"requirements": [path.name for path in requirements]})


def _copy_package(folder: Path) -> None:
    """Put the running airflow-mlops into the environment, if it is not the same already."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = folder / "lib" / version / "site-packages" / _PACKAGE.name
    digest, noted = _package_manifest().digest, folder / "airflow_mlops.json"
    if target.is_dir() and read_json(noted) == {"digest": digest}:
        return
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(_PACKAGE, fresh, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    atomic_write_json(noted, {"digest": digest})


def _package_manifest() -> Manifest:
    entries: list[FileEntry] = []
    for path in sorted(_PACKAGE.rglob("*")):
        name = path.relative_to(_PACKAGE).as_posix()
        if path.is_file() and "__pycache__" not in path.parts:
            with path.open("rb") as stream:
                entries.append(hash_stream(stream, name))
    return Manifest(files=tuple(entries))


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _marker(folder: Path) -> Path:
    return folder / "complete.json"
