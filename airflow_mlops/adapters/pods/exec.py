"""Commands inside a pod that runs, over the Kubernetes API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError

__all__ = ["ExecEnd", "PodExec"]

_OUTPUT, _ERRORS, _STATUS = 1, 2, 3
_LOOK_SECONDS = 1.0
_REFUSED = re.compile(r"Handshake status (401|403)\b")


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
        said = b""
        heard = time.monotonic()
        try:
            while client.is_open() and time.monotonic() - heard < silence_seconds:
                client.update(timeout=_LOOK_SECONDS)
                for channel, take in ((_OUTPUT, output), (_ERRORS, errors)):
                    if data := _read(client, channel):
                        heard = time.monotonic()
                        take(data)
                said += _read(client, _STATUS)
        except (WebSocketException, OSError):
            pass  # broken; what was heard until then counts
        finally:
            client.close()
        return _end(said)

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


def _read(client: Any, channel: int) -> bytes:
    # Not by the client's own method, which waits for more where there is nothing.
    data: bytes = client._channels.pop(channel, b"")  # noqa: SLF001
    return data


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
