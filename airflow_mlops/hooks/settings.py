"""The options of the section ``[mlops]``; they are read when a task runs."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk.configuration import conf

from airflow_mlops.exceptions import SpecificationError

__all__ = ["SECTION", "artifact_root", "local_home", "model_python", "option"]

SECTION = "mlops"


def option(name: str) -> str | None:
    """Return an option of the section, None where it is unset or empty."""
    value: str | None = conf.get(SECTION, name, fallback=None)
    return (value or "").strip() or None


def artifact_root() -> str:
    """URI under which references, reports and evidence are kept.

    :raises SpecificationError: if the option is not set
    """
    return _required("artifact_root", "s3://aws_default@my-bucket/mlops or file:///srv/mlops")


def model_python() -> Path:
    """Interpreter of the environment in which models are trained and evaluated.

    :raises SpecificationError: if the option is not set or names no file
    """
    path = Path(_required("model_python", "/srv/envs/model/bin/python"))
    if not path.is_file():
        raise SpecificationError("[mlops] model_python", str(path), "the path of a Python interpreter that exists")
    return path


def local_home() -> Path | None:
    """Folder of the embedded stack, None where none is configured."""
    value = option("local_home")
    return Path(value) if value else None


def _required(name: str, example: str) -> str:
    value = option(name)
    if value is None:
        raise SpecificationError(
            f"[{SECTION}] {name}",
            value,
            f"a value: set this option in airflow.cfg or in the environment as "
            f"AIRFLOW__{SECTION.upper()}__{name.upper()}, for example {example}",
        )
    return value
