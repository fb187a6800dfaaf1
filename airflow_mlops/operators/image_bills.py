"""Writing down what is in an image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, DigestMismatchError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.transfer import files_at
from airflow_mlops.links.pages import ImageLink
from airflow_mlops.operators.image_command import ImageCommandOperator
from airflow_mlops.operators.outcome import airflow_errors

__all__ = ["BillRef", "WriteImageBillOperator", "kept_bill", "read_bill"]

_SUFFIX = ".cdx.json"
_LABEL = "org.opencontainers.image."


@dataclass(frozen=True, kw_only=True)
class BillRef:
    """A bill of materials in the artefact store.

    :param uri: where it lies
    :param digest: ``sha256:…`` of its bytes
    :param format: standard, version and encoding
    :param size_bytes: length
    :param components: how many packages it lists, the operating system and the interpreter among them
    """

    uri: str
    digest: str
    format: str
    size_bytes: int
    components: int


class WriteImageBillOperator(ImageCommandOperator):
    """Write an image's CycloneDX bill of materials to the artefact store, once for each image.

    The bill lists the operating system, its Debian packages, the Python interpreter and every Python distribution
    that lies anywhere in the image, with the licence that it declares and its place. Libraries that a wheel carries
    inside are not listed apart. It is read in a container of exactly this image, which needs a Python and nothing
    else; nothing is installed there. If the store has the image's bill, it is verified and returned as it is.

    Returns ``bill`` (encoded :class:`BillRef`), ``image`` and ``written``.

    :param image: names the image by its digest, like ``reference`` of ``BuildImageOperator``; it is fetched if it
        lies in a registry only (templated)
    :param python: an interpreter in the image, 3.9 or newer
    :param timeout_seconds: how long reading the image may take
    :param docker_conn_id: connection of type ``docker``: the registry to fetch from and its credentials
    :param docker_url: the engine's address; None for the environment variable DOCKER_HOST or this machine's own engine
    """

    template_fields: Sequence[str] = ("image",)
    operator_extra_links = (ImageLink(),)
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        image: str,
        python: str = "python",
        timeout_seconds: float = 300,
        docker_conn_id: str | None = None,
        docker_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.python = python
        self.timeout_seconds = timeout_seconds
        self.docker_conn_id = docker_conn_id
        self.docker_url = docker_url

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Return the bill that is there, or write it."""
        from airflow_mlops.adapters.images.commands import digest_in

        store, folder = ArtifactStore.from_config(), _folder(digest_in(self.image))
        bill = _kept(store, folder)
        written = bill is None
        if bill is None:
            content = self._make(context).encode()
            uri = store.write_bytes(content, *folder, hashlib.sha256(content).hexdigest() + _SUFFIX)
            bill = _described(uri, content)
        self.log.info(
            "%s bill of %d components: %s", "Wrote the" if written else "Found the", bill.components, bill.uri
        )
        return {"bill": encode(bill), "image": self.image, "written": written}

    def _make(self, context: Context) -> str:
        from airflow_mlops.adapters.images.bill import bill_of_materials
        from airflow_mlops.adapters.images.commands import ImageCommand
        from airflow_mlops.container import inventory

        _require_cyclonedx()
        commands, container = self.commands(context)
        what = ImageCommand(
            image=self.image,
            command=[self.python, "-c", Path(inventory.__file__).read_text()],
            timeout_seconds=self.timeout_seconds,
        )
        printed = commands.run(what, container, keep_output=True)
        try:
            said = json.loads(printed)
        except ValueError as error:
            raise ContractError(f"{self.image}: its inventory is not JSON ({error}): {printed[:200]}") from error
        bill = bill_of_materials(self._billed(commands.image(self.image)), said)
        if not said["debian"]:
            self.log.warning("This image has no list of Debian packages; the bill holds its Python distributions only")
        return bill

    def _billed(self, found: dict[str, Any]) -> Any:
        from airflow_mlops.adapters.images.bill import BilledImage
        from airflow_mlops.adapters.images.commands import digest_in

        labels = found["Config"].get("Labels") or {}
        return BilledImage(
            name=labels.get(_LABEL + "title") or self.image.partition("@")[0],
            digest=digest_in(self.image),
            created=found.get("Created") or "1970-01-01T00:00:00Z",
            revision=labels.get(_LABEL + "revision", ""),
        )


def kept_bill(store: ArtifactStore, image_digest: str) -> BillRef | None:
    """Return the bill that the store has of an image, verified; None if it has none.

    :raises ContractError: if it was changed
    """
    return _kept(store, _folder(image_digest))


def read_bill(store: ArtifactStore, given: Any) -> BillRef:
    """Return a bill that a task has named, verified.

    :param given: an encoded :class:`BillRef`
    :raises ContractError: if other content lies there
    """
    bill = decode(BillRef, given, where="bill")
    found = f"sha256:{hashlib.sha256(store.read_bytes(bill.uri)).hexdigest()}"
    if found != bill.digest:
        raise DigestMismatchError(bill.uri, bill.digest, found)
    return bill


def _folder(image_digest: str) -> tuple[str, str, str]:
    return ("images", image_digest, "bill")


def _kept(store: ArtifactStore, folder: Sequence[str]) -> BillRef | None:
    """Return what a folder holds; a bill's name is its digest, so a changed one is found out."""
    path = store.path(*folder)
    path.fs.invalidate_cache()
    for name in sorted(files_at(path)):
        if not name.endswith(_SUFFIX):
            continue
        content = store.read_bytes(*folder, name)
        if hashlib.sha256(content).hexdigest() != name.removesuffix(_SUFFIX):
            raise ContractError(f"{path / name}: the content is not what its name promises; the bill was changed")
        return _described(str(path / name), content)
    return None


def _described(uri: str, content: bytes) -> BillRef:
    from airflow_mlops.adapters.images.bill import FORMAT

    return BillRef(
        uri=uri,
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        format=FORMAT,
        size_bytes=len(content),
        components=len(json.loads(content)["components"]),
    )


def _require_cyclonedx() -> None:
    try:
        import cyclonedx  # noqa: F401
    except ImportError as error:
        raise AirflowOptionalProviderFeatureException(
            "bills of materials need the extra: pip install 'airflow-mlops[docker]'"
        ) from error
