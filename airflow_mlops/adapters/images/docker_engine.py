"""Make and push images with a Docker engine, showing each line as it comes."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_mlops.adapters.images.context import BuildContext
from airflow_mlops.adapters.images.engine_errors import engine_errors
from airflow_mlops.exceptions import AdapterError, ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.references import ImageRef

__all__ = ["CONTEXT_LABEL", "BuiltImage", "DockerImageBuilder"]

#: The label that says what an image was made of.
CONTEXT_LABEL = "airflow-mlops.context"

_SHOWN_ON_FAILURE = 20


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """An image and how it came about.

    :param image: its name and digest: the registry's if it was pushed, else the engine's own
    :param reference: names exactly this image, for whoever runs it
    :param context_digest: what it was made of
    :param built: whether it was made now; False if it was there
    """

    image: ImageRef
    reference: str
    context_digest: str
    built: bool


class DockerImageBuilder:
    """Builds on one engine.

    :param api: ``docker.APIClient``, logged in to the registry if images are pushed
    :param show: takes each line of the engine's output
    """

    def __init__(self, api: Any, show: Callable[[str], None]) -> None:
        self._api = api
        self._show = show

    def ensure(
        self,
        context: BuildContext,
        tag: str,
        *,
        labels: Mapping[str, str] | None = None,
        network: str | None = None,
        rebuild: bool = False,
        push: bool = False,
    ) -> BuiltImage:
        """Make sure that the image exists and was made of this context.

        :param tag: the image's name, with the registry if it is pushed
        :param labels: further labels; they do not decide whether the image is made again
        :param network: the network of ``RUN`` lines, for example ``host``
        :param rebuild: make it even if it was made of the same before, fetching newer base images and using no cache
        :param push: bring it to the registry that its name begins with
        :raises TransientAdapterError: if a step fails, which may be the network's fault, or the engine is away
        :raises PermanentAdapterError: if the engine refuses the Dockerfile or the registry the image
        """
        digest = context.digest()
        present = None if rebuild else self._inspect(tag)
        if present is None or (present["Config"]["Labels"] or {}).get(CONTEXT_LABEL) != digest:
            self._build(context, tag, {**(labels or {}), CONTEXT_LABEL: digest}, network=network, rebuild=rebuild)
            present, built = self._inspect(tag), True
            if present is None:
                raise ContractError(f"{tag}: the engine built it and does not have it")
        else:
            self._show(f"{tag} was made of the same context, {digest[:19]}; not built again")
            built = False
        return self._described(tag, present, digest, built=built, pushed=self._push(tag) if push else None)

    def _inspect(self, tag: str) -> dict[str, Any] | None:
        import docker.errors

        with engine_errors(f"looking for image {tag}"):
            try:
                found: dict[str, Any] = self._api.inspect_image(tag)
            except docker.errors.ImageNotFound:
                return None
        return found

    def _build(
        self, context: BuildContext, tag: str, labels: Mapping[str, str], *, network: str | None, rebuild: bool
    ) -> None:
        with tempfile.TemporaryFile() as archive, engine_errors(f"building {tag}"):
            context.archive(archive)
            archive.seek(0)
            lines = self._api.build(
                fileobj=archive,
                custom_context=True,
                dockerfile=context.dockerfile,
                tag=tag,
                buildargs=dict(context.build_args),
                labels=dict(labels),
                target=context.target,
                network_mode=network,
                rm=True,
                forcerm=True,
                nocache=rebuild,
                pull=rebuild,
                decode=True,
            )
            self._follow(tag, lines)

    def _follow(self, tag: str, chunks: Iterable[Mapping[str, Any]]) -> None:
        last: deque[str] = deque(maxlen=_SHOWN_ON_FAILURE)
        for line in _lines(chunks):
            if line.problem:
                shown = "\n".join(last)
                raise TransientAdapterError(f"building {tag}: {line.text}; last lines:\n{shown}")
            last.append(line.text)
            self._show(line.text)

    def _push(self, tag: str) -> str:
        repository, name = _split(tag)
        digest = ""
        with engine_errors(f"pushing {tag}"):
            for chunk in self._api.push(repository, tag=name, stream=True, decode=True):
                if "error" in chunk:
                    raise _refused(tag, str(chunk["error"]))
                digest = (chunk.get("aux") or {}).get("Digest", digest)
                # Progress of each layer comes many times a second; that it is there comes once.
                if chunk.get("status") in ("Pushed", "Layer already exists") or "digest:" in chunk.get("status", ""):
                    self._show(" ".join(filter(None, (chunk.get("id"), chunk["status"]))))
        if not digest:
            raise ContractError(f"pushing {tag}: the registry named no digest")
        return digest

    @staticmethod
    def _described(tag: str, found: Mapping[str, Any], context: str, *, built: bool, pushed: str | None) -> BuiltImage:
        local = str(found["Id"])
        image = ImageRef(uri=tag, digest=pushed or local, format="docker", size_bytes=int(found["Size"]))
        reference = f"{_split(tag)[0]}@{pushed}" if pushed else local
        return BuiltImage(image=image, reference=reference, context_digest=context, built=built)


@dataclass(frozen=True)
class _Line:
    text: str
    problem: bool = False


def _lines(chunks: Iterable[Mapping[str, Any]]) -> Iterator[_Line]:
    rest = ""
    for chunk in chunks:
        if "error" in chunk:
            yield _Line(str(chunk["error"]).strip(), problem=True)
            return
        text = chunk.get("stream")
        if text is None:
            # What is being pulled, without its progress bars.
            if "status" in chunk and "progressDetail" not in chunk:
                yield _Line(str(chunk["status"]))
            continue
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            # A progress bar rewrites its line; only what stands there in the end is of interest.
            shown = line.rstrip("\r").rpartition("\r")[2].rstrip()
            if shown:
                yield _Line(shown)
    if rest.strip():
        yield _Line(rest.strip())


def _split(tag: str) -> tuple[str, str]:
    repository, colon, name = tag.rpartition(":")
    return (repository, name) if colon and "/" not in name else (tag, "latest")


def _refused(tag: str, said: str) -> AdapterError:
    words = said.lower()
    final = any(word in words for word in ("denied", "unauthorized", "no basic auth", "authentication required"))
    return (PermanentAdapterError if final else TransientAdapterError)(f"pushing {tag}: {said}")
