"""References: how datasets, models and images are named across processes.

XCom, assets and evidence carry these, never the things themselves. A reference holds the digest of what it names, so
whoever reads can tell whether it is still the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_mlops.exceptions import SpecificationError

__all__ = ["DatasetRef", "ImageRef", "ModelRef"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def _check(uri: str, digest: str, kind: str) -> None:
    if not uri:
        raise SpecificationError(f"{kind}.uri", uri, "a non-empty URI")
    if not _DIGEST.fullmatch(digest):
        raise SpecificationError(f"{kind}.digest", digest, "'sha256:' and 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """An immutable set of rows.

    :param uri: where it lies, a file or a directory
    :param digest: ``sha256:…`` of its canonical manifest
    :param format: ``parquet``, ``csv`` or ``jsonl``
    :param size_bytes: length of all files together
    :param rows: number of rows
    :param partition: which part of a larger dataset this is, for example ``2013-03``
    :param columns: column name to type, in order
    """

    uri: str
    digest: str
    format: str
    size_bytes: int
    rows: int
    partition: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be a reference."""
        _check(self.uri, self.digest, "DatasetRef")


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A trained model as files.

    :param uri: the directory that holds it
    :param digest: ``sha256:…`` of its canonical manifest
    :param format: how to load it, for example ``mlflow``
    :param size_bytes: length of all files together
    """

    uri: str
    digest: str
    format: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse what cannot be a reference."""
        _check(self.uri, self.digest, "ModelRef")


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """A container image.

    :param uri: repository and tag
    :param digest: ``sha256:…`` of the image
    :param format: ``oci`` or ``docker``
    :param size_bytes: unpacked size
    """

    uri: str
    digest: str
    format: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuse what cannot be a reference."""
        _check(self.uri, self.digest, "ImageRef")
