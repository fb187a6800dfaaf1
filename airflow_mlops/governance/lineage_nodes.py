"""Nodes of a lineage graph: data, models, images and documents, named as OpenLineage's specification says.

Source of the names: openlineage.io/docs/spec/naming. What it has no rule for, models in a registry, container images
and tables of Spark, is named likewise: who holds it is the namespace, what it is there is the name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from airflow_mlops.governance.flows import Kind

__all__ = ["Node", "Place", "named", "place_of_uri"]

_BUCKETS = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_DEFAULT_REGISTRY = "docker.io"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an Airflow connection leads, as lineage names it; never a credential.

    :param namespace: such as ``postgres://host:5432`` or ``mlflow://host:5000``
    :param database: name of the database, empty where there is none
    :param schema: schema of tables that name none, empty where there is none
    """

    namespace: str
    database: str = ""
    schema: str = ""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A dataset, a model, an image or a document.

    :param kind: which of them it is
    :param digest: of its content, None if that is not known
    :param format: how to read it
    :param size_bytes: length of all of it
    :param rows: number of rows
    :param columns: column name to type, in order
    :param model_name: for models, under which name they are trained or registered
    :param version: for models, the registered version
    :param metrics: for models, name to number
    """

    namespace: str
    name: str
    kind: Literal["dataset", "model", "image", "document"]
    digest: str | None = None
    format: str | None = None
    size_bytes: int | None = None
    rows: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    model_name: str | None = None
    version: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


def place_of_uri(uri: str) -> tuple[str, str]:
    """Return namespace and name of what lies at a URI or at an absolute path."""
    parts = urlsplit(uri if "://" in uri else f"file://{uri}")
    # Airflow writes a connection before a bucket; Azure writes a container before an account.
    host = parts.netloc if parts.netloc.endswith(".windows.net") else parts.netloc.rpartition("@")[2]
    if parts.scheme == "file":
        return (f"file://{host}" if host else "file"), parts.path or "/"
    if parts.scheme in ("hdfs", "webhdfs"):
        return f"hdfs://{host}", parts.path or "/"
    return f"{_BUCKETS.get(parts.scheme, parts.scheme)}://{host}", parts.path.strip("/") or "/"


def named(
    wanted: Mapping[str, Kind], values: Any, fields: Mapping[str, Any], places: Mapping[str, Place]
) -> list[Node]:
    """Return what values name.

    :param wanted: path of a value, with dots between its keys, to what it names
    :param fields: the task's rendered fields
    :param places: where connections lead; what lies where none is known is left out
    """
    found: list[Node] = []
    for path, kind in wanted.items():
        value = values
        for key in filter(None, path.split(".")):
            value = value.get(key) if isinstance(value, Mapping) else None
        found += _nodes(value, kind, fields, places)
    return found


def _nodes(value: Any, kind: Kind, fields: Mapping[str, Any], places: Mapping[str, Place]) -> Iterator[Node]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _nodes(one, kind, fields, places)
    elif isinstance(value, str) and value:
        yield from _from_text(value, kind)
    elif isinstance(value, Mapping):
        yield from _from_mapping(value, kind, fields, places)


def _from_text(value: str, kind: Kind) -> Iterator[Node]:
    if kind == "image":
        yield _image(value, digest=value.partition("@")[2] or None)
    elif kind == "place" and ("://" in value or value.startswith("/")):
        namespace, name = place_of_uri(value)
        yield Node(namespace=namespace, name=name, kind="dataset")
    elif kind == "document" and "://" in value:
        namespace, name = place_of_uri(value)
        yield Node(namespace=namespace, name=name, kind="document")


def _from_mapping(
    value: Mapping[str, Any], kind: Kind, fields: Mapping[str, Any], places: Mapping[str, Place]
) -> Iterator[Node]:
    if kind == "version":
        yield from _version(value, str(fields.get("mlflow_conn_id")), places)
    elif not (isinstance(value.get("uri"), str) and value.get("digest")):
        for one in value.values():  # roles, each with references of its own
            yield from _nodes(one, kind, fields, places)
    elif kind == "image":
        yield replace(_image(value["uri"], digest=value["digest"]), **_facts(value))
    elif kind == "data" and "connection" in value:
        yield from _table(value, places)
    else:
        namespace, name = place_of_uri(value["uri"])
        node = Node(namespace=namespace, name=name, kind=_KINDS.get(kind, "document"), **_facts(value))
        name_of_model = fields.get("model_name") if node.kind == "model" else None
        yield replace(node, model_name=name_of_model)


_KINDS: Mapping[str, Literal["dataset", "model"]] = {"data": "dataset", "place": "dataset", "model": "model"}


def _facts(value: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value.get(name) for name in ("digest", "format", "size_bytes", "rows")}
    return {**found, "columns": dict(value.get("columns") or {})}


def _image(name: str, digest: str | None) -> Node:
    repository = name.partition("@")[0]
    head, slash, last = repository.rpartition("/")
    repository = f"{head}{slash}{last.partition(':')[0]}"
    registry, slash, rest = repository.partition("/")
    # As Docker reads it: a host has a dot or a port, or is this machine.
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, rest = _DEFAULT_REGISTRY, repository
    return Node(namespace=f"oci://{registry}", name=rest, kind="image", digest=digest)


def _table(value: Mapping[str, Any], places: Mapping[str, Place]) -> Iterator[Node]:
    what = value["uri"].rsplit("/", 1)[-1]
    if value.get("format") != "sql":
        place: Place | None = Place(namespace=f"{value.get('format')}://{value['connection']}")
    else:
        place = places.get(str(value["connection"]))
    if place is None:
        return
    table = value.get("table")
    schema = place.schema if table and "." not in table else ""
    name = ".".join(filter(None, (place.database, schema, table or what)))
    yield Node(namespace=place.namespace, name=name, kind="dataset", **_facts(value))


def _version(value: Mapping[str, Any], conn_id: str, places: Mapping[str, Place]) -> Iterator[Node]:
    place = places.get(conn_id)
    if place is None or not value.get("name") or not value.get("version"):
        return
    model = value.get("model")
    facts = _facts(model) if isinstance(model, Mapping) else {}
    yield Node(
        namespace=place.namespace,
        name=f"{value['name']}/{value['version']}",
        kind="model",
        model_name=str(value["name"]),
        version=str(value["version"]),
        **facts,
    )
