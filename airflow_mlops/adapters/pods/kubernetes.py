"""The few calls that a training makes to the Kubernetes API, as plain JSON and in our errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError

__all__ = ["PodClient"]

Json = Mapping[str, Any]

_TIMEOUT_SECONDS = 30.0
_ATTEMPTS = 3


class PodClient:
    """Pods of one namespace.

    :param api: ``kubernetes.client.CoreV1Api``
    :param namespace: where the pods are
    """

    def __init__(self, api: Any, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    def list(self, labels: Mapping[str, str]) -> Sequence[Json]:
        """Return the pods that have all of these labels."""
        return self.select(",".join(f"{name}={value}" for name, value in labels.items()))

    def select(self, selector: str) -> Sequence[Json]:
        """Return the pods that a label selector names."""
        found = self._read(self._api.list_namespaced_pod, self.namespace, label_selector=selector)
        return list(found.get("items") or ())

    def get(self, name: str) -> Json | None:
        """Return a pod, None where there is none."""
        try:
            return self._read(self._api.read_namespaced_pod, name, self.namespace)
        except _NotFoundError:
            return None

    def events(self, name: str) -> Sequence[Json]:
        """Return what happened to a pod, oldest first; Kubernetes keeps it for an hour, longer than the pod."""
        selector = f"involvedObject.kind=Pod,involvedObject.name={name}"
        found = self._read(self._api.list_namespaced_event, self.namespace, field_selector=selector)
        return sorted(found.get("items") or (), key=_last_seen)

    def last_lines(self, name: str, container: str, lines: int = 20) -> str:
        """Return the end of a container's log, empty where the cluster has none."""
        try:
            with _errors(f"the log of pod {self.namespace}/{name}"):
                answer = self._api.read_namespaced_pod_log(
                    name,
                    self.namespace,
                    container=container,
                    tail_lines=lines,
                    _preload_content=False,
                    _request_timeout=_TIMEOUT_SECONDS,
                )
                return bytes(answer.data).decode(errors="replace").strip()
        except (PermanentAdapterError, TransientAdapterError):
            return ""  # the container never started, or its node is gone; other evidence is reported instead

    def create(self, pod: Any) -> Any | None:
        """Make a pod and return it as the client's own object; None if one of this name is there already."""
        name = pod.metadata.name
        try:
            return self._call(self._api.create_namespaced_pod, self.namespace, pod, what=f"pod {self.namespace}/{name}")
        except _ExistsError:
            return None

    def delete(self, name: str, grace_seconds: int | None = None) -> None:
        """Ask for a pod's deletion; it is fine if there is none."""
        options = {} if grace_seconds is None else {"grace_period_seconds": grace_seconds}
        try:
            self._call(self._api.delete_namespaced_pod, name, self.namespace, what=f"pod {name}", **options)
        except _NotFoundError:
            return

    def _read(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Json:
        # Raw JSON: building the client's objects takes longer than the request, and they differ between its versions.
        answer = self._call(call, *arguments, what=str(arguments), _preload_content=False, **options)
        document: Json = json.loads(answer.data)
        return document

    @staticmethod
    def _call(call: Callable[..., Any], *arguments: Any, what: str, **options: Any) -> Any:
        for remaining in reversed(range(_ATTEMPTS)):
            try:
                with _errors(f"{call.__name__}: {what}"):
                    return call(*arguments, _request_timeout=_TIMEOUT_SECONDS, **options)
            except TransientAdapterError:
                if not remaining:
                    raise
        raise AssertionError  # the last round returns or raises


class _NotFoundError(PermanentAdapterError):
    pass


class _ExistsError(PermanentAdapterError):
    pass


@contextmanager
def _errors(what: str) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _translated(error, what) from error
    except HTTPError as error:
        raise TransientAdapterError(f"Kubernetes, {what}: the API server does not answer ({error})") from error


def _translated(error: Any, what: str) -> PermanentAdapterError | TransientAdapterError:
    said = _said(error.body)
    text = f"Kubernetes, {what}: {error.status} {error.reason}; {said.get('message', error.body)}"
    if error.status == 404:
        return _NotFoundError(text)
    if said.get("reason") == "AlreadyExists":
        return _ExistsError(text)
    passing = error.status in (0, 401, 409, 429) or error.status >= 500 or "exceeded quota" in text
    return TransientAdapterError(text) if passing else PermanentAdapterError(text)


def _said(body: Any) -> Json:
    try:
        document = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _last_seen(event: Json) -> str:
    metadata = event.get("metadata") or {}
    return str(event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp") or "")
