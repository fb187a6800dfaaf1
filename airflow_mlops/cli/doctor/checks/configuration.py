"""Whether the options of the section ``[mlops]`` are what they must be."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.exceptions import MLOpsError

__all__ = ["options"]


def options(site: Site) -> Iterator[Finding]:
    """Look at each option."""
    from airflow_mlops.hooks.settings import option

    del site
    yield from _unknown()
    root = option("artifact_root")
    if root is None:
        yield failed(
            "artifact_root",
            "not set: no task can keep a snapshot, a model, a report or evidence",
            "set AIRFLOW__MLOPS__ARTIFACT_ROOT to a folder or bucket that all workers and the API server see, "
            "for example file:///srv/mlops",
        )
    yield from _model_python(option("model_python"))
    home = option("local_home")
    if home is not None and not Path(home).is_dir():
        yield warn(
            "local_home", f"{home}: there is no such folder", "run `airflow mlops local up`, or unset the option"
        )
    elif home is not None:
        yield ok("local_home", home)
    yield from _evidence_key(option("evidence_key"))
    yield from _backends()


def _unknown() -> Iterator[Finding]:
    """Find options that nobody reads: mostly a misspelt name."""
    from airflow.configuration import conf

    from airflow_mlops.provider_info import get_provider_info

    known = set(get_provider_info()["config"]["mlops"]["options"])
    for name in sorted(set(conf.getsection("mlops") or {}) - known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        yield warn(
            name, "[mlops] has no such option, so nobody reads it", f"{hint}The options: {', '.join(sorted(known))}"
        )


def _model_python(path: str | None) -> Iterator[Finding]:
    if path is None:
        return  # the area versions says what that means
    if not Path(path).is_file():
        yield failed("model_python", f"{path}: there is no such file", "name the interpreter of the model environment")
    elif not os.access(path, os.X_OK):
        yield failed("model_python", f"{path} cannot be executed by this user", f"chmod +x {path}, or name another one")
    else:
        yield ok("model_python", path)


def _evidence_key(path: str | None) -> Iterator[Finding]:
    """Sign something with the key, as every decision is."""
    if path is None:
        return
    from airflow_mlops.container.model_signature import sign_digest

    try:
        signature = sign_digest(f"sha256:{'0' * 64}", Path(path).read_bytes(), purpose="evidence")
    except (OSError, MLOpsError, ValueError) as error:
        remedy = (
            "name a private key, Ed25519 or on a NIST curve, as a PEM file that this user may read; or unset the option"
        )
        yield failed("evidence_key", f"{path} signs nothing, so no decision can be recorded: {error}", remedy)
        return
    yield ok("evidence_key", f"decisions are signed by the key {signature.key_id}")


def _backends() -> Iterator[Finding]:
    from airflow_mlops.hooks.backends import backend_settings, job_backend
    from airflow_mlops.training.backends import Backend, check_settings

    try:
        chosen = job_backend()
    except MLOpsError as error:
        yield failed("backend", str(error), "name one of these, or leave it empty for local")
        chosen = None
    for one in (Backend.DOCKER, Backend.KUBERNETES):
        try:
            given, where = backend_settings(one)
            if given:
                check_settings(one, given, where=where)
        except MLOpsError as error:
            yield failed(one.value, str(error), f"correct MLOPS_{one.name}, or the option {one.value} of [mlops]")
            continue
        if given:
            yield ok(one.value, f"settings of {where}: {', '.join(sorted(given))}")
        elif chosen is one:
            yield warn(
                one.value,
                f"jobs run in {one.value}, but its settings are empty",
                f'set MLOPS_{one.name} to a JSON object such as {{"image": "mlops-trainer:1"}}',
            )
    if chosen is not None:
        yield (ok if chosen is not Backend.LOCAL else _local)("backend", f"jobs run in: {chosen.value}")


def _local(check: str, message: str) -> Finding:
    from airflow_mlops.hooks.settings import option

    if option("model_python") is None:
        return note(check, f"{message}, which needs [mlops] model_python", "set it, or choose another backend")
    return ok(check, message)
