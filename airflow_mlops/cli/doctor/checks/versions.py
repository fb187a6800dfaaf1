"""Whether the versions are those that this package works with, here and in the model environment."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from airflow_mlops import __version__
from airflow_mlops.cli.doctor import model_side
from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.site import DISTRIBUTION, Site

__all__ = ["describe_package", "libraries", "model_environment"]

_MODEL_SECONDS = 20.0


def libraries(site: Site) -> Iterator[Finding]:
    """Compare Python and what the base package asks for with what is installed."""
    installed = site.version(DISTRIBUTION)
    if installed is None:
        yield failed(
            DISTRIBUTION,
            f"{__version__} is imported from {describe_package()['path']}, but no such distribution is installed; "
            "Airflow finds no connections, options and pages of it",
            "install it: pip install airflow-mlops",
        )
        return
    yield ok(DISTRIBUTION, f"{installed}, with Python {platform.python_version()}")
    if installed != __version__:
        yield warn(
            DISTRIBUTION,
            f"the distribution says {installed}, the code {__version__}",
            "install it again; an editable installation keeps the version that it was made with",
        )
    for text in site.requirements():
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        yield _compare(site, wanted)


def _compare(site: Site, wanted: Requirement) -> Finding:
    found = site.version(wanted.name)
    remedy = f"pip install '{wanted.name}{wanted.specifier}', with the constraints of your Airflow"
    if found is None:
        return failed(wanted.name, f"not installed; {wanted.specifier} is needed", remedy)
    if not wanted.specifier.contains(found, prereleases=True):
        return failed(wanted.name, f"{found} is installed; {wanted.specifier} is needed", remedy)
    return ok(wanted.name, f"{found} ({wanted.specifier})")


def describe_package() -> dict[str, Any]:
    """Return version, place and digest of the package that this process runs."""
    return model_side.describe()


def model_environment(site: Site) -> Iterator[Finding]:
    """Compare this package with the copy that trains and judges models."""
    from airflow_mlops.hooks.settings import option

    del site
    named = option("model_python")
    if named is None:
        yield note(
            "model_python",
            "no model environment: training and evaluation cannot run as processes of this machine",
            "set [mlops] model_python, unless all trainings run in Docker or on Kubernetes",
        )
        return
    if not Path(named).is_file():
        return  # the area configuration says so
    done = subprocess.run(  # noqa: S603 - the interpreter that the configuration names
        [named, str(Path(model_side.__file__))],
        capture_output=True,
        text=True,
        check=False,
        timeout=_MODEL_SECONDS,
        cwd="/",
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        yield failed(
            "model_python", f"{named} ended with status {done.returncode}: {last}", "make the environment again"
        )
        return
    yield from compare_environments(describe_package(), json.loads(done.stdout), named)


def compare_environments(here: dict[str, Any], there: dict[str, Any], python: str) -> Iterator[Finding]:
    """Say how the model environment differs from this one.

    :param here: what :func:`describe_package` returned in this process
    :param there: the same of the model environment
    :param python: its interpreter
    """
    again = (
        f"{python} -m pip install --no-deps airflow-mlops=={here['version']}; `airflow mlops local up` renews its own"
    )
    if there["version"] is None:
        yield failed("model_python", f"{python}: airflow-mlops is not there, so no job can start", again)
    elif (there["version"], there["digest"]) != (here["version"], here["digest"]):
        same = "the same number, other files" if there["version"] == here["version"] else f"here {here['version']}"
        yield warn("model_python", f"{python} has airflow-mlops {there['version']} ({same})", again)
    else:
        yield ok(
            "model_python", f"{python}: Python {there['python']}, airflow-mlops {there['version']}, the same files"
        )
    missing = [name for name, version in there["libraries"].items() if version is None]
    if missing:
        yield warn(
            "model libraries",
            f"{python} lacks {', '.join(missing)}, which evaluation and the usual training scripts need",
            "install the trainer's requirements, which come with the package as container/requirements/trainer.txt",
        )
    elif there["libraries"]:
        yield ok("model libraries", ", ".join(f"{name} {version}" for name, version in there["libraries"].items()))
    if there["airflow"] is not None:
        yield warn(
            "model libraries",
            f"{python} also holds Airflow {there['airflow']}; models then share its libraries' versions",
            "make an environment of its own for models",
        )
