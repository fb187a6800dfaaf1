"""Specs and policies given to operators as a mapping or as a YAML or JSON file beside the DAG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import ObjectStoragePath

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError

__all__ = ["dag_folder", "load_document", "load_text"]


def dag_folder(operator: Any) -> str | None:
    """Folder of the DAG's file, from which relative paths in arguments begin; None outside of a DAG."""
    dag = operator.get_dag()
    return None if dag is None else str(dag.folder)


def load_document(
    source: str | Path | Mapping[str, Any], *, field: str, folder: str | Path | None
) -> Mapping[str, Any]:
    """Return the mapping that was given, or that the file at a path or URI holds.

    :param source: a mapping, an absolute path, a path relative to ``folder``, or a URI
    :param field: name of the operator's argument, for messages
    :param folder: where relative paths begin, usually ``operator.dag.folder``
    :raises SpecificationError: if it is neither, or the file holds no mapping
    :raises PermanentAdapterError: if the file is not there
    """
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, (str, Path)) or not str(source):
        raise SpecificationError(field, source, "a mapping, or the path of a YAML file")
    content, where = _read(str(source), field, folder)
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecificationError(
            field, where, f"a YAML file; it is not readable: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(document, Mapping):
        raise SpecificationError(field, where, f"a file with a mapping; it holds {type(document).__name__}")
    return document


def load_text(source: str, *, field: str, folder: str | Path | None) -> str:
    """Return what the text file at a path or URI holds.

    :param source: an absolute path, a path relative to ``folder``, or a URI
    :param field: name of the operator's argument, for messages
    :param folder: where relative paths begin
    :raises SpecificationError: if it holds no text
    :raises PermanentAdapterError: if the file is not there
    """
    content, where = _read(source, field, folder)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise SpecificationError(field, where, "a text file") from error


def _read(source: str, field: str, folder: str | Path | None) -> tuple[bytes, str]:
    where: ObjectStoragePath | Path
    if "://" in source:
        where = ObjectStoragePath(source)
    else:
        where = Path(source)
        if not where.is_absolute():
            if folder is None:
                raise SpecificationError(field, source, "an absolute path: there is no DAG folder to begin from")
            where = Path(folder) / where
    try:
        return bytes(where.read_bytes()), str(where)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise PermanentAdapterError(f"{field}: there is no file at {where}") from error
