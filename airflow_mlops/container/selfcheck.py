"""An image's own tests: ``python -m airflow_mlops.container.selfcheck trainer``, run in a container of the image.

Each check prints one line as soon as it is done. The exit code is 1 if any of them failed; the others run all the same.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distributions, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.outcome import collect
from airflow_mlops.exceptions import ContractError, MLOpsError, SpecificationError
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef
from airflow_mlops.training.contract import JobRequest

__all__ = ["main"]

_LISTS = Path(__file__).parent / "requirements"
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)")
_PROGRAMS = ("cc", "gcc", "g++", "make", "git")
#: This package itself is in the image without being one of its requirements.
_OURS = "airflow-mlops"
_SCRIPT = """
from airflow_mlops.container import training_job
with training_job() as job:
    (job.output / "model.txt").write_text(job.paths("train")[0].read_text())
    job.finish(metrics={"answer": job.parameters["answer"]}, artifacts={"model": "model.txt"})
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks and return 0 if none of them failed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m airflow_mlops.container.selfcheck", description=__doc__)
    parser.add_argument("requirements", help="trainer, server, or the path of a list of pinned requirements")
    pins = _pins(parser.parse_args(arguments).requirements)
    checks: dict[str, Callable[[], str]] = {
        "versions": lambda: _versions(pins),
        "imports": lambda: _imports(pins),
        "user": _user,
        "file system": _file_system,
        "programs": _programs,
        "contract": _contract,
    }
    failed = []
    for name, check in checks.items():
        try:
            said, mark = check(), "ok"
        except MLOpsError as error:
            failed.append(name)
            said, mark = str(error), "FAILED"
        _say(f"{mark:<6} {name}: {said}")
    _say(f"{len(checks)} checks, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _pins(given: str) -> dict[str, str]:
    path = Path(given) if os.sep in given else _LISTS / f"{given}.txt"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in _LISTS.glob("*.txt"))) or "none in this installation"
        raise SpecificationError("requirements", given, f"the path of a file, or one of: {known}")
    return {_normal(found[1]): found[2] for line in path.read_text().splitlines() if (found := _PIN.match(line))}


def _versions(pins: dict[str, str]) -> str:
    wrong = list(_differences(pins))
    if wrong:
        raise ContractError("; ".join(wrong))
    return f"{len(pins)} distributions as pinned, and no others"


def _differences(pins: dict[str, str]) -> Iterator[str]:
    if not pins:
        yield "the list of requirements pins nothing"
    for name, wanted in pins.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield f"{name}=={wanted} is not installed"
        else:
            if found != wanted:
                yield f"{name} is {found}, pinned is {wanted}"
    present = {_normal(one.name) for one in distributions() if one.name}
    yield from (f"{name} is installed and not pinned" for name in sorted(present - set(pins) - {_OURS}))


def _imports(pins: dict[str, str]) -> str:
    modules = sorted(
        module
        for module, owners in packages_distributions().items()
        if not module.startswith("_") and any(_normal(owner) in pins for owner in owners)
    )
    problems = [problem for module in modules if (problem := _import_problem(module)) is not None]
    if problems or not modules:
        raise ContractError("; ".join(problems) or "none of the requirements brings a module")
    return f"{len(modules)} modules"


def _import_problem(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever it raises, this module cannot be used
        return f"{module}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None


def _user() -> str:
    if os.getuid() == 0:
        raise ContractError("this image runs as root; its Dockerfile must name a USER")
    return f"{os.getuid()}:{os.getgid()}"


def _file_system() -> str:
    package = Path(__file__).parents[1]
    writable = [str(path) for path in (Path("/"), Path(sys.prefix), package) if os.access(path, os.W_OK)]
    if writable:
        raise ContractError(f"who runs this image can write to {', '.join(writable)}")
    try:
        with tempfile.TemporaryFile(dir=tempfile.gettempdir()) as file:
            file.write(b"x")
    except OSError as error:
        raise ContractError(f"nothing can be written to {tempfile.gettempdir()}: {error}") from error
    return f"only {tempfile.gettempdir()} can be written to"


def _programs() -> str:
    found = [name for name in _PROGRAMS if shutil.which(name)]
    found += [f"module {name}" for name in ("pip", "airflow") if find_spec(name)]
    if found:
        raise ContractError(f"left in the image: {', '.join(found)}")
    return f"none of {', '.join(_PROGRAMS)}, and neither pip nor Airflow in the environment"


def _contract() -> str:
    """Run a job as the operators do, and one whose data were changed."""
    with tempfile.TemporaryDirectory() as folder:
        script, data = Path(folder, "job.py"), Path(folder, "rows.csv")
        script.write_text(_SCRIPT)
        data.write_text("a\n1\n")
        ref = DatasetRef(uri=f"file://{data}", digest=manifest_of(data).digest, format="csv", size_bytes=4, rows=1)
        result = collect(_run_job(Path(folder, "job"), script, ref))
        if (result.metrics, result.artifacts) != ({"answer": 42.0}, {"model": "model.txt"}):
            raise ContractError(f"the job was to report 42 and a model, it reported {result}")
        data.write_text("a\n2\n")
        changed = _run_job(Path(folder, "changed"), script, ref).result()
        if changed is None or changed.status != "failed" or "DigestMismatchError" not in (changed.error or ""):
            raise ContractError(f"a job with changed data was to fail for that reason, it left {changed}")
    return "a job's verified result came back, changed data stopped another"


def _run_job(path: Path, script: Path, ref: DatasetRef) -> JobDirectory:
    directory = JobDirectory(path)
    directory.path.mkdir()
    request = JobRequest(
        kind="train",
        job_id=path.name,
        output_uri=f"file://{path}",
        datasets={"train": (ref,)},
        parameters={"answer": 42},
    )
    lock = directory.lock()
    if lock is None:  # pragma: no cover - the folder was made a moment ago
        raise ContractError(f"{path}: somebody else holds the lock")
    directory.prepare(request)
    os.close(lock)
    launch = [sys.executable, "-m", "airflow_mlops.container.launch", "--directory", str(path), str(script)]
    done = subprocess.run(launch, capture_output=True, text=True, check=False)  # noqa: S603 - our own launcher
    if directory.result() is None:
        raise ContractError(f"the launcher ended with exit code {done.returncode} and left no result: {done.stderr}")
    return directory


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    sys.exit(main())
