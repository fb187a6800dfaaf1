"""Run a command in a container of an image, once, and see it end.

The command gets little: no network unless it is given one, no capabilities, a file system that it cannot write to
except for ``/tmp``, and no file of this machine.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.adapters.images.engine_errors import engine_errors
from airflow_mlops.exceptions import MLOpsError, PermanentAdapterError, SpecificationError, TransientAdapterError

__all__ = ["COMMAND_LABEL", "ImageCommand", "ImageCommands", "digest_in"]

#: The label of the containers that are made here; its value says for whom.
COMMAND_LABEL = "airflow-mlops.command"

_LOG = logging.getLogger(__name__)
_REFERENCE = re.compile(r"(?:.+@)?(sha256:[0-9a-f]{64})")
_SHOWN_ON_FAILURE = 20


def digest_in(image: str) -> str:
    """Return the digest by which a reference names its image.

    :raises SpecificationError: if it names the image by a tag, which may mean another image in a moment
    """
    found = _REFERENCE.fullmatch(image)
    if found is None:
        raise SpecificationError(
            "image",
            image,
            "a reference that holds a digest, as BuildImageOperator returns it: sha256:… or repository@sha256:…",
        )
    return found[1]


@dataclass(frozen=True, kw_only=True)
class ImageCommand:
    """What to run, and with what.

    :param image: names the image by its digest
    :param command: program and arguments; they take the place of the image's own
    :param environment: variables beside the image's own
    :param network: name of a network of the engine, ``host`` or ``none``
    :param read_only: whether the command may write to ``/tmp`` only
    :param timeout_seconds: how long it may take
    """

    image: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    network: str = "none"
    read_only: bool = True
    timeout_seconds: float = 600.0

    def __post_init__(self) -> None:
        """Refuse what names no image for sure, and a command that is none."""
        digest_in(self.image)
        texts = isinstance(self.command, (list, tuple)) and all(isinstance(word, str) for word in self.command)
        if not texts or not self.command:
            raise SpecificationError("command", self.command, "a list of texts: a program and its arguments")


class ImageCommands:
    """Runs commands on one engine; of each name there is one container at a time.

    :param api: ``docker.APIClient``
    :param show: takes each line that a command prints
    """

    def __init__(self, api: Any, show: Callable[[str], None]) -> None:
        self._api = api
        self._show = show

    def image(self, reference: str) -> dict[str, Any]:
        """Return what the engine knows of an image; fetch it if it lies in a registry only.

        :raises PermanentAdapterError: if the engine neither has it nor can fetch it
        """
        import docker.errors

        for fetched in (False, True):
            with engine_errors(f"looking for image {reference}"):
                try:
                    found: dict[str, Any] = self._api.inspect_image(reference)
                except docker.errors.ImageNotFound:
                    if fetched or "@" not in reference:
                        break
                else:
                    return found
            self._fetch(reference)
        raise PermanentAdapterError(
            f"the engine does not have the image {reference}; one that lies in a registry is named repository@sha256:…"
        )

    def run(self, what: ImageCommand, name: str, *, keep_output: bool = False) -> str:
        """Run a command to its end, and leave no container.

        What an earlier call of the same name left, because its process was killed, is removed first.

        :param name: name of the container
        :param keep_output: return what the command prints to its standard output, instead of showing it
        :return: the kept output, or the last line that was shown
        :raises PermanentAdapterError: if the command cannot be started or ends with another exit code than 0
        :raises TransientAdapterError: if it took too long or was killed from outside
        """
        self.image(what.image)
        self.remove(name)
        container = self._create(what, name)
        try:
            return self._follow(what, container, keep_output=keep_output)
        finally:
            # Whatever went wrong says more than that the container could not be removed, too.
            with contextlib.suppress(MLOpsError):
                self.remove(container)

    def remove(self, container: str) -> None:
        """Kill and remove a container; there need not be one."""
        import docker.errors

        with engine_errors("removing the container"):
            try:
                self._api.remove_container(container, force=True, v=True)
            except docker.errors.APIError as error:
                # Gone, or being removed by somebody else.
                if error.status_code not in (404, 409):
                    raise

    def _create(self, what: ImageCommand, name: str) -> str:
        import docker.errors
        from docker.types import LogConfig

        program, *arguments = what.command
        options = self._api.create_host_config(
            # The engine's default may be one that cannot be read.
            log_config=LogConfig(type=LogConfig.types.JSON),
            network_mode=what.network,
            read_only=what.read_only,
            tmpfs={"/tmp": "rw,nosuid,nodev,exec,mode=1777"},  # noqa: S108 - its own tmpfs
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        with engine_errors(f"making a container of image {what.image}"):
            try:
                made = self._api.create_container(
                    what.image,
                    entrypoint=[program],
                    command=arguments,
                    name=name,
                    labels={COMMAND_LABEL: name},
                    environment=dict(what.environment),
                    host_config=options,
                )
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
                raise TransientAdapterError(f"somebody else runs a container named {name}") from error
        return str(made["Id"])

    def _follow(self, what: ImageCommand, container: str, *, keep_output: bool) -> str:
        late, last = threading.Event(), deque[str](maxlen=_SHOWN_ON_FAILURE)
        with engine_errors(f"starting {what.command[0]!r} in image {what.image}"):
            self._api.start(container)
        watch = threading.Timer(what.timeout_seconds, self._end, (container, late))
        watch.daemon = True
        watch.start()
        try:
            with engine_errors("reading the container's output"):
                for line in _lines(self._api.logs(container, stream=True, follow=True, stdout=not keep_output)):
                    last.append(line)
                    self._show(line)
            code = self._exit_code(what, container)
        finally:
            watch.cancel()
        self._judge(what, code, late=late.is_set(), shown="\n".join(last))
        if not keep_output:
            return last[-1] if last else ""
        with engine_errors("reading the container's output"):
            return str(self._api.logs(container, stderr=False).decode())

    def _exit_code(self, what: ImageCommand, container: str) -> int:
        import docker.errors

        with engine_errors("waiting for the container"):
            try:
                return int(self._api.wait(container)["StatusCode"])
            except docker.errors.NotFound as error:
                raise TransientAdapterError(f"the container of image {what.image} was removed while it ran") from error

    def _end(self, container: str, late: threading.Event) -> None:
        late.set()
        with contextlib.suppress(MLOpsError), engine_errors("killing the container"):
            self._api.kill(container)

    @staticmethod
    def _judge(what: ImageCommand, code: int, *, late: bool, shown: str) -> None:
        called = f"{' '.join(what.command[:4])}{' …' if len(what.command) > 4 else ''} in image {what.image}"
        tail = f"; last lines:\n{shown}" if shown else "; it printed nothing"
        if late:
            raise TransientAdapterError(
                f"{called} took longer than timeout_seconds={what.timeout_seconds:g} and was stopped{tail}"
            )
        if code - 128 in (signal.SIGKILL, signal.SIGTERM):
            name = signal.Signals(code - 128).name
            raise TransientAdapterError(f"{called} was killed by signal {code - 128} ({name}){tail}")
        if code:
            raise PermanentAdapterError(f"{called} ended with exit code {code}{tail}")

    def _fetch(self, reference: str) -> None:
        with engine_errors(f"the image {reference} is not there and cannot be fetched"):
            for line in self._api.pull(reference, stream=True, decode=True):
                if "error" in line:
                    raise PermanentAdapterError(f"the image {reference} cannot be fetched: {line['error']}")
                if "id" not in line:
                    _LOG.info("%s", line.get("status", ""))


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace").rstrip() for line in whole)
    if rest:
        yield rest.decode(errors="replace").rstrip()
