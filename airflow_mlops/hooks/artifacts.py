"""The artefact store: where references, reports and evidence lie, on any file system that Airflow can reach."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context, ObjectStoragePath

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import ContractError, DigestMismatchError, SpecificationError
from airflow_mlops.hooks import settings
from airflow_mlops.hooks.names import original_name, safe_name
from airflow_mlops.hooks.transfer import copy_file, download, files_at, local_path, remote_files, write_file

if TYPE_CHECKING:
    from airflow_mlops.evidence import Evidence, Origin
    from airflow_mlops.manifest import Manifest
    from airflow_mlops.references import DatasetRef, ModelRef

__all__ = ["ArtifactStore", "local_path", "origin"]


def origin(context: Context) -> Origin:
    """Name the task instance that is running."""
    from airflow_mlops.evidence import Origin

    ti = context["ti"]
    return Origin(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        try_number=ti.try_number,
        map_index=-1 if ti.map_index is None else ti.map_index,
    )


class ArtifactStore:
    """Reads and writes below one root.

    :param root: URI of the root, for example ``s3://aws_default@bucket/mlops``, or an absolute path
    :raises SpecificationError: if the root is neither a URI nor an absolute path
    """

    def __init__(self, root: str) -> None:
        if "://" not in root and not root.startswith("/"):
            raise SpecificationError(
                "[mlops] artifact_root", root, "a URI such as file:///srv/mlops, or an absolute path"
            )
        uri = root if "://" in root else f"file://{root}"
        self.root = ObjectStoragePath(uri.rstrip("/"))

    @classmethod
    def from_config(cls) -> ArtifactStore:
        """Store at the option ``[mlops] artifact_root``.

        :raises SpecificationError: if the option is not set
        """
        return cls(settings.artifact_root())

    def path(self, *parts: str) -> ObjectStoragePath:
        """Path below the root; every part becomes one file name, whatever characters it holds."""
        result = self.root
        for part in parts:
            result = result / safe_name(str(part))
        return result

    def uri(self, *parts: str) -> str:
        """URI of :meth:`path`."""
        return str(self.path(*parts))

    def write_bytes(self, content: bytes, *parts: str) -> str:
        """Write a file in one step, so that no reader sees a half of it, and return its URI."""
        target = self.path(*parts)
        write_file(target, content)
        return str(target)

    def write_json(self, value: Any, *parts: str) -> str:
        """Write a value as JSON and return its URI.

        :param value: a dataclass or anything else that the codec encodes
        """
        text = json.dumps(encode(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return self.write_bytes(text.encode() + b"\n", *parts)

    def read_bytes(self, *uri_or_parts: str) -> bytes:
        """Read a file by its URI, or by its parts below the root.

        :raises ContractError: if it is not there
        """
        where = self._resolve(*uri_or_parts)
        try:
            content: bytes = where.fs.cat_file(where.path)
        except FileNotFoundError as error:
            raise ContractError(f"{where}: there is no file here") from error
        return content

    def read_json(self, *uri_or_parts: str) -> Any:
        """Read a JSON document by its URI, or by its parts below the root.

        :raises ContractError: if it is not there or is not JSON
        """
        content = self.read_bytes(*uri_or_parts)
        try:
            return json.loads(content)
        except ValueError as error:
            raise ContractError(f"{self._resolve(*uri_or_parts)}: this is not JSON ({error})") from error

    def exists(self, *uri_or_parts: str) -> bool:
        """Whether a file or directory is there."""
        where = self._resolve(*uri_or_parts)
        return bool(where.fs.exists(where.path))

    def manifest(self, uri: str, *, exclude: Iterable[str] = ()) -> Manifest:
        """Describe what lies at a URI, by reading all of it.

        :raises ContractError: if nothing is there
        """
        from airflow_mlops.manifest import Manifest, hash_stream, manifest_of

        local = local_path(uri)
        if local is not None:
            return manifest_of(local, exclude=exclude)
        where = ObjectStoragePath(uri)
        skipped, entries = set(exclude), []
        for name, found in remote_files(where).items():
            if name not in skipped:
                with where.fs.open(found, "rb") as stream:
                    entries.append(hash_stream(stream, name))
        if not entries:
            raise ContractError(f"{uri}: there is no file or directory here")
        return Manifest(files=tuple(sorted(entries)))

    def publish(self, local: Path, *parts: str, exclude: Iterable[str] = ()) -> tuple[str, Manifest]:
        """Copy a directory under the root and verify the copy; what already lies there with equal content is kept.

        A local directory that is already below a local root stays where it is.

        :param local: an existing directory
        :param parts: where it goes below the root
        :param exclude: relative paths to leave out
        :return: URI and manifest of the published directory
        :raises ContractError: if the target holds other content, or ``local`` is no directory
        """
        from airflow_mlops.manifest import manifest_of

        if not local.is_dir():
            raise ContractError(f"{local}: there is no directory here to publish")
        manifest = manifest_of(local, exclude=exclude)
        root = local_path(str(self.root))
        if root is not None and local.resolve().is_relative_to(root.resolve()):
            return f"file://{local.resolve()}", manifest
        target = self.path(*parts)
        present = files_at(target)
        for entry in manifest.files:
            copy_file(local / entry.path, target / entry.path, entry, exists=entry.path in present)
        found = self.manifest(str(target))
        if found.digest != manifest.digest:
            raise DigestMismatchError(str(target), manifest.digest, found.digest)
        return str(target), manifest

    def localize(self, subject: DatasetRef | ModelRef | str, digest: str | None = None) -> Path:
        """Bring an artefact to this machine and verify its digest.

        A ``file://`` artefact is verified where it lies; others are downloaded once into a cache, which is verified
        at every use.

        :param subject: a reference, or a URI together with ``digest``
        :param digest: ``sha256:…`` of the canonical manifest; taken from the reference when there is one
        :raises DigestMismatchError: if the content is not what was named
        :raises ContractError: if nothing is there
        """
        from airflow_mlops.manifest import verify

        uri = subject if isinstance(subject, str) else subject.uri
        wanted = digest if isinstance(subject, str) else subject.digest
        if wanted is None:
            raise SpecificationError("digest", digest, "a digest: nothing is used unverified")
        local = local_path(uri)
        if local is not None:
            verify(local, wanted)
            return local
        return download(ObjectStoragePath(uri), wanted)

    def write_evidence(self, evidence: Evidence) -> tuple[str, str]:
        """Append a decision to its subject's chain.

        :return: URI and digest of the document as written
        """
        from airflow_mlops.hooks.evidence import append

        return append(self, evidence)

    def read_evidence(self, subject: str) -> tuple[Evidence, ...]:
        """Return a subject's decisions, oldest first, verified.

        :raises ContractError: if a document was changed, removed or reordered
        """
        from airflow_mlops.hooks.evidence import read

        return read(self, subject)

    def evidence_subjects(self) -> tuple[str, ...]:
        """Return the names of the models and datasets that decisions were taken about, sorted."""
        from airflow_mlops.hooks.evidence import subjects

        return subjects(self)

    def write_report(self, context: Context, name: str, html: str) -> str:
        """Keep a self-contained HTML page of the running task and return its URI.

        :param name: name of the page without extension; it is the last part of the page's address
        """
        who = origin(context)
        return self.write_bytes(html.encode(), *report_parts(who.dag_id, who.run_id, who.task_id, who.map_index, name))

    def reports(self, dag_id: str, run_id: str) -> tuple[tuple[Origin, str], ...]:
        """Find the reports that a run's tasks have kept: who wrote it, and its name; sorted."""
        from airflow_mlops.evidence import Origin

        found = []
        for path in files_at(self.path("reports", dag_id, run_id)):
            if not path.endswith(".html"):
                continue
            task_id, index, name = map(original_name, path.split("/"))
            who = Origin(dag_id=dag_id, run_id=run_id, task_id=task_id, try_number=0, map_index=int(index))
            found.append((who, name.removesuffix(".html")))
        return tuple(sorted(found, key=lambda one: (one[0].task_id, one[0].map_index, one[1])))

    def _resolve(self, *uri_or_parts: str) -> ObjectStoragePath:
        first = uri_or_parts[0] if uri_or_parts else ""
        if len(uri_or_parts) == 1 and ("://" in first or first.startswith("/")):
            return ObjectStoragePath(first if "://" in first else f"file://{first}")
        return self.path(*uri_or_parts)


def report_parts(dag_id: str, run_id: str, task_id: str, map_index: int, name: str) -> tuple[str, ...]:
    """Where a task's report lies below the root; the plugin that serves reports looks here too."""
    return "reports", dag_id, run_id, task_id, str(map_index), f"{name}.html"
