"""Operators that name data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, local_path
from airflow_mlops.links.pages import RunLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.manifest import Manifest
    from airflow_mlops.references import DatasetRef

__all__ = ["SnapshotDatasetOperator"]


class SnapshotDatasetOperator(MLOpsOperator):
    """Name a dataset by its content: digest, number of rows and columns.

    Nothing is copied and no table is loaded: the digest comes from the files' bytes, rows and columns from the
    metadata. Every later task checks the digest, so all of them see the same rows or fail. Looking again at the same
    files gives the same reference.

    Returns an encoded :class:`~airflow_mlops.references.DatasetRef`.

    :param uri: a file or a directory, as an absolute path or a URI that ``ObjectStoragePath`` understands (templated)
    :param partition: which part of a larger dataset this is, for example ``2013-03`` (templated)
    :param format: ``parquet`` or ``csv`` (templated)
    """

    template_fields: Sequence[str] = ("uri", "partition", "format")
    operator_extra_links = (RunLink(),)
    ui_color = "#e0f2f1"

    def __init__(self, *, uri: str, partition: str | None = None, format: str = "parquet", **kwargs: Any) -> None:  # noqa: A002
        super().__init__(**kwargs)
        self.uri = uri
        self.partition = partition
        self.format = format

    def execute(self, context: Context) -> dict[str, Any]:
        """Look at the files and return the reference."""
        del context
        with airflow_errors():
            reference = self._snapshot()
        self.log.info(
            "%s: %s rows, %s bytes, %s",
            reference.uri,
            f"{reference.rows:,}",
            f"{reference.size_bytes:,}",
            reference.digest,
        )
        encoded: dict[str, Any] = encode(reference)
        return encoded

    def _snapshot(self) -> DatasetRef:
        from airflow_mlops.adapters.tables.files import FORMATS, describe
        from airflow_mlops.references import DatasetRef

        if self.format not in FORMATS:
            raise SpecificationError("format", self.format, "one of " + ", ".join(map(repr, FORMATS)))
        uri, manifest, path = self._locate()
        facts = describe(path, self.format)
        if not facts.rows:
            raise SpecificationError("uri", uri, f"data with rows; {facts.files} {self.format} file(s) hold none")
        return DatasetRef(
            uri=uri,
            digest=manifest.digest,
            format=self.format,
            size_bytes=manifest.size_bytes,
            rows=facts.rows,
            partition=self.partition,
            columns=facts.columns,
        )

    def _locate(self) -> tuple[str, Manifest, Any]:
        """Return URI, manifest and a path on this machine at which the rows can be read."""
        from airflow_mlops.manifest import manifest_of

        if not isinstance(self.uri, str) or ("://" not in self.uri and not self.uri.startswith("/")):
            raise SpecificationError("uri", self.uri, "an absolute path, or a URI such as s3://bucket/flights/2013-03")
        local = local_path(self.uri)
        if local is None:
            store = ArtifactStore.from_config()
            manifest = store.manifest(self.uri)
            return self.uri, manifest, store.localize(self.uri, manifest.digest)
        if not local.exists():
            raise PermanentAdapterError(f"{local}: there is no file or directory here")
        resolved = local.resolve()
        return f"file://{resolved}", manifest_of(resolved), resolved
