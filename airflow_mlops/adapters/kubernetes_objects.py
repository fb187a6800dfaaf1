"""Objects of a Kubernetes namespace as plain JSON, in our errors; changed by compare-and-set only.

What adapters of several kinds share: routers and rollout stores write one object each, fleets of model servers create
and remove objects. The client speaks plain JSON, because the generated classes differ between versions of the client
and know no custom resources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from airflow_mlops.exceptions import MLOpsError, PermanentAdapterError, StaleWriteError, TransientAdapterError

__all__ = ["Json", "KubernetesObjects", "ObjectKind", "Operations", "connect", "pointer"]

Json = Mapping[str, Any]
#: Operations of a JSON Patch (RFC 6902).
Operations = Sequence[Mapping[str, Any]]

_DECISIONS = 6


@dataclass(frozen=True, kw_only=True)
class ObjectKind:
    """A kind of object.

    :param group: API group, empty for the core group
    :param version: for example ``v1``
    :param plural: as in the URL, for example ``httproutes``
    :param kind: as in a manifest, for example ``HTTPRoute``
    """

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """``apiVersion`` of a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of a path: ``pointer("metadata", "annotations", "a/b")``."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def connect(*, kubeconfig: str | None = None, context: str | None = None, in_cluster: bool = False) -> Any:
    """Return a ``kubernetes.client.ApiClient`` for processes without Airflow.

    :param kubeconfig: path; None for ``KUBECONFIG`` or the home folder's
    :param context: context in the kubeconfig, None for its current one
    :param in_cluster: use the service account of the pod that asks
    :raises PermanentAdapterError: if there is no such configuration
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if in_cluster:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(config_file=kubeconfig, context=context, client_configuration=configuration)
    except config.ConfigException as error:
        raise PermanentAdapterError(f"Kubernetes: no way to the cluster: {error}") from error
    return client.ApiClient(configuration)


class KubernetesObjects:
    """Objects of one namespace.

    :param client: ``kubernetes.client.ApiClient``, from :func:`connect` or from Airflow's ``KubernetesHook``
    :param namespace: where the objects are
    :param timeout_seconds: for connecting, and again for every answer
    """

    def __init__(self, client: Any, namespace: str, *, timeout_seconds: float = 5.0) -> None:
        # A client without connections of its own plays the API server in tests.
        self._client = _Wire(client) if hasattr(client, "rest_client") else client
        self.namespace = namespace
        self._timeout_seconds = timeout_seconds

    def get(self, kind: ObjectKind, name: str) -> Json | None:
        """Return an object, None where there is none.

        :raises PermanentAdapterError: if the cluster refuses, or does not know this kind
        :raises TransientAdapterError: if it does not answer
        """
        try:
            return self._call("GET", kind, name)
        except _NotFoundError as error:
            if error.kind_is_unknown:
                raise PermanentAdapterError(f"the cluster has no definition of {kind.plural}.{kind.group}") from error
            return None

    def list(self, kind: ObjectKind, labels: Mapping[str, str]) -> Sequence[Json]:
        """Return the objects that have all of these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        return list(self._call("GET", kind, query=[("labelSelector", selector)]).get("items") or ())

    def create(self, kind: ObjectKind, document: Json) -> Json | None:
        """Make an object; None if one of this name is there already."""
        try:
            return self._call("POST", kind, body=document)
        except _ExistsError:
            return None

    def delete(self, kind: ObjectKind, name: str) -> None:
        """Ask for an object's deletion, and with it that of what belongs to it; fine if there is none."""
        try:
            self._call("DELETE", kind, name, body={"propagationPolicy": "Background"})
        except _NotFoundError:
            return

    def change(
        self,
        kind: ObjectKind,
        name: str,
        decide: Callable[[Json], Operations],
        *,
        subresource: str = "",
        missing: MLOpsError | None = None,
        seen: Json | None = None,
    ) -> Json:
        """Change an object by compare-and-set, and return it as it then is.

        ``decide`` sees the object and returns the patch; it is written only if nobody wrote meanwhile, else ``decide``
        is asked again about the object as it is now. It may raise, then nothing is written, and it may return no
        operation. Since what decides is the object as it is, a write whose answer was lost is harmless to repeat.

        :param subresource: what to write instead of the object itself, for example ``status``
        :param missing: what to raise if there is no such object; None for the usual error
        :param seen: the object as it was read lately, which saves reading it if nobody has written since
        :raises PermanentAdapterError: if there is no such object, or the patch is refused
        :raises TransientAdapterError: if the cluster does not answer; the change may have been made
        :raises StaleWriteError: if somebody else was faster every time
        """
        operations = () if seen is None else _decided(decide, seen)
        document = seen if operations else None
        for _ in range(_DECISIONS):
            if document is None:
                document = self.get(kind, name)
                if document is None:
                    raise missing or PermanentAdapterError(f"there is no {kind.kind} {self.namespace}/{name}")
                operations = decide(document)
            if not operations:
                return document
            version, document = document["metadata"]["resourceVersion"], None
            test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
            try:
                return self._call("PATCH", kind, name, subresource=subresource, body=[test, *operations])
            except (_ConflictError, _NotFoundError):
                continue
            except _InvalidError as error:
                # A failed test is reported like an invalid patch; which it was, the object's version tells.
                now = self.get(kind, name)
                if now is not None and now["metadata"]["resourceVersion"] == version:
                    raise PermanentAdapterError(str(error)) from error
        raise StaleWriteError(
            f"{kind.kind} {self.namespace}/{name}: somebody else wrote {_DECISIONS} times in between; "
            "nothing was written"
        )

    def _call(
        self,
        method: str,
        kind: ObjectKind,
        name: str = "",
        *,
        subresource: str = "",
        query: Sequence[tuple[str, str]] = (),
        body: Any = None,
    ) -> Json:
        root = f"/apis/{kind.group}" if kind.group else "/api"
        path = f"{root}/{kind.version}/namespaces/{self.namespace}/{kind.plural}" + "".join(
            f"/{part}" for part in (name, subresource) if part
        )
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = f"application/{'json-patch+json' if method == 'PATCH' else 'json'}"
        what = f"{method} {kind.kind} {self.namespace}/{name}".rstrip("/")
        with _errors(what):
            answer = self._client.call_api(
                path,
                method,
                query_params=list(query),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=(self._timeout_seconds, self._timeout_seconds),
            )
            document: Json = json.loads(answer.data)
        return document


def _decided(decide: Callable[[Json], Operations], seen: Json) -> Operations:
    """Return the patch of an object that may have changed meanwhile; none where only a fresh look can tell."""
    try:
        return decide(seen)
    except MLOpsError:
        return ()


class _Wire:
    """Plain requests over a client's connections, with its credentials.

    Of ``ApiClient`` only what its versions have in common is used: up to 36 and since 37 ``call_api`` takes other
    arguments. Nor do its retries fit: with them a timeout of 5 s takes 20, and a lost answer is another decision.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def call_api(
        self,
        path: str,
        method: str,
        *,
        query_params: Sequence[tuple[str, str]],
        header_params: Mapping[str, str],
        body: Any,
        _request_timeout: tuple[float, float],
        **_: Any,
    ) -> Any:
        """Do one request.

        :raises _HttpError: if the server refuses
        """
        from urllib3.util import Retry, Timeout

        configuration = self._client.configuration
        headers = {**self._client.default_headers, **header_params}
        for setting in configuration.auth_settings().values():
            if setting["value"]:
                headers[setting["key"]] = setting["value"]
        connect_seconds, read_seconds = _request_timeout
        answer = self._client.rest_client.pool_manager.request(
            method,
            configuration.host + quote(path) + ("?" + urlencode(query_params) if query_params else ""),
            body=None if body is None else json.dumps(body),
            headers=headers,
            timeout=Timeout(connect=connect_seconds, read=read_seconds),
            retries=Retry(total=1, connect=1, read=0, redirect=0, status=0, other=0),
        )
        if not 200 <= answer.status < 300:
            raise _HttpError(answer.status, answer.reason, answer.data.decode(errors="replace"))
        return answer


class _HttpError(Exception):
    def __init__(self, status: int, reason: str, body: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status, self.reason, self.body = status, reason, body


class _NotFoundError(PermanentAdapterError):
    # A kind without definition is refused by its URL, in plain text and not by a Status object.
    kind_is_unknown = False


class _ExistsError(PermanentAdapterError):
    pass


class _InvalidError(PermanentAdapterError):
    pass


class _ConflictError(TransientAdapterError):
    pass


@contextmanager
def _errors(what: str) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (ApiException, _HttpError) as error:
        raise _translated(error, what) from error
    except HTTPError as error:
        raise TransientAdapterError(f"Kubernetes, {what}: the API server does not answer ({error})") from error


def _translated(error: Any, what: str) -> PermanentAdapterError | TransientAdapterError:
    said = _said(error.body)
    text = f"Kubernetes, {what}: {error.status} {error.reason}; {said.get('message') or str(error.body)[:500]}"
    if error.status == 404:
        missing = _NotFoundError(text)
        missing.kind_is_unknown = not said
        return missing
    if said.get("reason") == "AlreadyExists":
        return _ExistsError(text)
    if error.status == 422:
        return _InvalidError(text)
    if error.status == 409:
        return _ConflictError(text)
    # 401 passes where tokens rotate.
    passing = error.status in (0, 401, 429) or error.status >= 500
    return TransientAdapterError(text) if passing else PermanentAdapterError(text)


def _said(body: Any) -> Json:
    try:
        document = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
