"""Commands inside a pod that runs, over the Kubernetes API."""

from __future__ import annotations

import json
import re
import select
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError

__all__ = ["ExecEnd", "PodExec"]

_OUTPUT, _ERRORS, _STATUS = 1, 2, 3
_LOOK_SECONDS = 1.0
_REFUSED = re.compile(r"Handshake status 403\b")


@dataclass(frozen=True, kw_only=True)
class ExecEnd:
    """How a command's connection came to its end.

    :param code: the command's exit code; None if the connection broke or the command never began
    :param problem: what the cluster said if there is no exit code; empty if the connection just broke
    """

    code: int | None
    problem: str = ""


class PodExec:
    """Runs commands in the pods of one namespace.

    :param api: ``kubernetes.client.CoreV1Api``
    :param namespace: where the pods are
    """

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def run(
        self,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        output: Callable[[bytes], None],
        errors: Callable[[bytes], None],
        silence_seconds: float,
    ) -> ExecEnd:
        """Run a command and wait until it or the connection has ended.

        :param output: takes what the command prints, piece by piece
        :param errors: takes what it prints to standard error
        :param silence_seconds: a connection that says nothing for so long is taken for broken
        :raises PermanentAdapterError: if the account may not do this
        """
        from kubernetes.client.exceptions import ApiException
        from websocket import WebSocketException

        try:
            client = self._open(pod, container, command)
        except (ApiException, AttributeError) as error:
            # The client trips over its own error, which has no body.
            known = error if isinstance(error, ApiException) else error.__context__
            if not isinstance(known, ApiException):
                raise
            problem = _shortened(str(known.reason))
            if _REFUSED.search(problem):
                raise PermanentAdapterError(
                    f"Kubernetes, exec in pod {self._namespace}/{pod}: {problem}; the worker's account needs the verbs "
                    "get and create of pods/exec"
                ) from known
            return ExecEnd(code=None, problem=problem)
        said = bytearray()
        take = {_OUTPUT: output, _ERRORS: errors, _STATUS: said.extend}
        try:
            for channel, data in _frames(client.sock, silence_seconds):
                if channel in take:
                    take[channel](data)
        except (WebSocketException, OSError):
            pass  # broken; what was heard until then counts
        finally:
            client.close()
        return _end(bytes(said))

    def _open(self, pod: str, container: str, command: Sequence[str]) -> Any:
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.stream import stream

        # The call below changes its client for a moment, and a signal's handler may call it, too.
        own = CoreV1Api(ApiClient(self._api.api_client.configuration))
        own.api_client.default_headers.update(self._api.api_client.default_headers)
        return stream(
            own.connect_get_namespaced_pod_exec,
            pod,
            self._namespace,
            container=container,
            command=list(command),
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            binary=True,
            _preload_content=False,
        )


def _shortened(reason: str) -> str:
    """Return the status line of a refused handshake and what the cluster said, without the headers between them."""
    first, *_, last = reason.split(" -+-+- ") if " -+-+- " in reason else (reason, "")
    try:
        said = json.loads(last)["message"]
    except (ValueError, KeyError, TypeError):
        said = last
    return f"{first}; {said}" if said else first


def _frames(socket: Any, silence_seconds: float) -> Iterator[tuple[int, bytes]]:
    """Yield channel and content of every message until the other side closes or says nothing for too long.

    The client has methods for this. They keep all that was ever said, and they ask the operating system whether there
    is more, which does not know what TLS has read ahead: the end of a command would then be seen late.
    """
    from websocket import ABNF

    socket.settimeout(silence_seconds)
    poll = select.poll()
    poll.register(socket.sock, select.POLLIN)
    heard = time.monotonic()
    while time.monotonic() - heard < silence_seconds:
        if not _read_ahead(socket.sock) and not poll.poll(1000 * _LOOK_SECONDS):
            continue
        heard = time.monotonic()
        kind, frame = socket.recv_data_frame(control_frame=True)
        if kind == ABNF.OPCODE_CLOSE:
            return
        if kind in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and frame.data:
            yield frame.data[0], frame.data[1:]


def _read_ahead(raw: Any) -> bool:
    return isinstance(raw, ssl.SSLSocket) and raw.pending() > 0


def _end(said: bytes) -> ExecEnd:
    try:
        status = json.loads(said)
    except ValueError:
        return ExecEnd(code=None)
    if status.get("status") == "Success":
        return ExecEnd(code=0)
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode" and str(cause.get("message")).isdigit():
            return ExecEnd(code=int(cause["message"]))
    return ExecEnd(code=None, problem=str(status.get("message") or status))
