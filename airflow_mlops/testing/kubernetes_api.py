"""A Kubernetes API server in memory: objects, versions, JSON Patch and faults, for tests without a cluster.

It knows no definitions and validates nothing; what a real API server refuses, only a real one shows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

__all__ = ["MemoryKubernetes"]


@dataclass
class _Answer:
    data: bytes


@dataclass
class MemoryKubernetes:
    """Stands for ``kubernetes.client.ApiClient`` where only ``call_api`` is used.

    :param fault: called before and after every request with ``"before"`` or ``"after"``, the method and the path; what
        it raises is what the caller sees, and what it raises after a request is a lost answer
    """

    fault: Callable[[str, str, str], None] | None = None
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    version: int = 0

    def call_api(
        self,
        resource_path: str,
        method: str,
        *,
        query_params: Sequence[tuple[str, str]] = (),
        body: Any = None,
        **_: Any,
    ) -> _Answer:
        """Do one request."""
        self.requests.append(method)
        if self.fault is not None:
            self.fault("before", method, resource_path)
        found = getattr(self, f"_{method.lower()}")(resource_path, dict(query_params), copy.deepcopy(body))
        if self.fault is not None:
            self.fault("after", method, resource_path)
        return _Answer(json.dumps(found).encode())

    def _get(self, path: str, query: Mapping[str, str], _: Any) -> Any:
        if path in self.objects:
            return self.objects[path]
        if path.partition("/namespaces/")[2].count("/") == 1:  # …/namespaces/NAMESPACE/PLURAL is a list
            wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
            items = [
                document
                for key, document in sorted(self.objects.items())
                if key.rpartition("/")[0] == path
                and all((document["metadata"].get("labels") or {}).get(name) == value for name, value in wanted)
            ]
            return {"items": items}
        raise _refused(404, "NotFound", f"{path} not found")

    def _post(self, path: str, _: Mapping[str, str], body: Any) -> Any:
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            raise _refused(409, "AlreadyExists", f"{key} already exists")
        return self._store(key, body | {"metadata": {**body["metadata"], "generation": 0}}, {})

    def _delete(self, path: str, _: Mapping[str, str], __: Any) -> Any:
        if path not in self.objects:
            raise _refused(404, "NotFound", f"{path} not found")
        return self.objects.pop(path)

    def _put(self, path: str, query: Mapping[str, str], body: Any) -> Any:
        path, subresource = _without_subresource(path)
        before = self._get(path, query, None)
        if body["metadata"].get("resourceVersion") not in (None, before["metadata"]["resourceVersion"]):
            raise _refused(409, "Conflict", f"{path} was changed meanwhile")
        return self._replace(path, before, body, subresource)

    def _patch(self, path: str, query: Mapping[str, str], body: Sequence[Mapping[str, Any]]) -> Any:
        path, subresource = _without_subresource(path)
        before = self._get(path, query, None)
        after = copy.deepcopy(before)
        try:
            for operation in body:
                _apply(after, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise _refused(422, "Invalid", f"the server rejected our request: {error}") from error
        return self._replace(path, before, after, subresource)

    def _replace(self, path: str, before: Any, after: Any, subresource: str) -> Any:
        if subresource:
            after = before | {subresource: after[subresource]}
        return before if after == before else self._store(path, after, before)

    def _store(self, key: str, document: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        metadata = document["metadata"]
        metadata["resourceVersion"] = str(self.version)
        metadata["generation"] += document.get("spec") != before.get("spec")
        self.objects[key] = document
        return document


def _without_subresource(path: str) -> tuple[str, str]:
    head, _, last = path.rpartition("/")
    return (head, last) if last == "status" else (path, "")


def _apply(document: Any, operation: Mapping[str, Any]) -> None:
    parts = [unquote(part).replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    *parents, last = parts
    place = document
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    key: Any = last
    if isinstance(place, list):
        key = len(place) if last == "-" else int(last)
    kind = operation["op"]
    if kind == "test":
        if place[key] != operation["value"]:
            raise ValueError(f"test failed at {operation['path']}")
    elif kind == "remove":
        del place[key]
    elif kind == "add" and isinstance(place, list):
        place.insert(key, operation["value"])
    elif kind == "add" or key in place or isinstance(place, list):
        place[key] = operation["value"]
    else:
        raise KeyError(operation["path"])


def _refused(status: int, reason: str, message: str) -> Exception:
    from kubernetes.client.exceptions import ApiException

    error: Exception = ApiException(status=status, reason=reason)
    error.body = json.dumps({"kind": "Status", "reason": reason, "message": message})  # type: ignore[attr-defined]
    return error
