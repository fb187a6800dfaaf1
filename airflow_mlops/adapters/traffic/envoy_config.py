"""What Envoy reads, built from routes: bootstrap, clusters and routes as text.

Pure functions: the same routes give the same text, byte for byte. Every rendered file starts with the digest of what
follows, so that a change by another hand can be told from a write of ours that did not finish.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import yaml

from airflow_mlops.adapters.traffic.envoy_users import UserLog, access_log, user_filters
from airflow_mlops.codec import canonical_json
from airflow_mlops.rollout.routing import Match, Mirror, Sticky

__all__ = ["bootstrap", "clusters", "is_foreign", "routes", "start"]

ROUTE_CONFIGURATION = "models"
#: A cluster without traffic: Envoy reads its endpoints once, when it starts, and its statistics say when that was.
START_CLUSTER = "gateway_start"
#: What the cluster of matched requests is called besides its target, which cannot have such a name: who judges a target
#: must not count requests that somebody chose to send there.
_MATCHED = "~match"
_HEADER = "# Written by airflow-mlops from the files in ../routes; a change made here stops rollouts. Content: "
_TYPE = "type.googleapis.com/envoy."
_CONNECTIONS = f"{_TYPE}extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_CONNECT_TIMEOUT = "1s"
# A model server closes idle connections after five seconds; the proxy lets go first, so that it never sends a request
# into a connection that is being closed.
_IDLE_TIMEOUT = "3s"


class RouteLike(Protocol):
    """The part of a route that Envoy has to know."""

    @property
    def route(self) -> str:
        """Name of the model."""
        ...

    @property
    def weights(self) -> Mapping[str, int]:
        """Target to percent."""
        ...

    @property
    def targets(self) -> Mapping[str, int]:
        """Target to port."""
        ...

    @property
    def mirror(self) -> Mirror | None:
        """Where copies of the requests go."""
        ...

    @property
    def sticky(self) -> Sticky | None:
        """What keeps a caller at one target."""
        ...

    @property
    def match(self) -> Match | None:
        """Which requests go to one target whatever the weights are."""
        ...


@functools.lru_cache(maxsize=8)
def _as_yaml(document: str) -> str:
    # Every look at a route compares what Envoy reads with what it should read; writing YAML takes milliseconds.
    return yaml.safe_dump(json.loads(document), sort_keys=True, allow_unicode=True, width=110)


def _signed(document: Mapping[str, Any]) -> str:
    body = _as_yaml(canonical_json(document))
    return f"{_HEADER}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def is_foreign(text: str) -> bool:
    """Whether a rendered file was changed by another hand."""
    head, _, body = text.partition("\n")
    return not head.startswith(_HEADER) or head[len(_HEADER) :] != hashlib.sha256(body.encode()).hexdigest()


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _watched(folder: Path, name: str) -> dict[str, Any]:
    return {
        "path_config_source": {"path": str(folder / name), "watched_directory": {"path": str(folder)}},
        "resource_api_version": "V3",
    }


def bootstrap(folder: Path, *, listen_port: int, admin_port: int, users: UserLog | None = None) -> str:
    """Render what Envoy is started with.

    :param folder: absolute folder of the rendered files
    :param listen_port: where clients ask for predictions
    :param admin_port: Envoy's own interface: statistics and readiness
    :param users: what is logged of users, None for nothing
    """
    manager: dict[str, Any] = {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"config_source": _watched(folder, "rds.yaml"), "route_config_name": ROUTE_CONFIGURATION},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"}}
        ],
    }
    if users is not None:
        manager["access_log"] = [access_log(users)]
        manager["http_filters"] = [*user_filters(users), *manager["http_filters"]]
    listener = {
        "name": "models",
        "address": _address(listen_port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    document = {
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": _address(admin_port)},
        "dynamic_resources": {"cds_config": _watched(folder, "cds.yaml")},
        "static_resources": {"listeners": [listener], "clusters": [_start_cluster(folder)]},
        # Latency histograms become readable only when statistics are flushed; the usual five seconds would make
        # every look a look into the past.
        "stats_flush_interval": "0.5s",
        # Without a drop of its own, Envoy would warn at every start that connections are unlimited.
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": _CONNECTIONS,
                        "max_active_downstream_connections": 10000,
                    },
                }
            ]
        },
    }
    return _signed(document)


def _start_cluster(folder: Path) -> dict[str, Any]:
    # No watched directory: the file must be read only once, whatever else is written beside it.
    source = {"path_config_source": {"path": str(folder / "start.yaml")}, "resource_api_version": "V3"}
    return {
        "name": START_CLUSTER,
        "type": "EDS",
        "connect_timeout": _CONNECT_TIMEOUT,
        "eds_cluster_config": {"eds_config": source},
    }


def start() -> str:
    """Render the endpoints of :data:`START_CLUSTER`, which are none; written once, because reading it is the sign."""
    assignment = {"@type": f"{_TYPE}config.endpoint.v3.ClusterLoadAssignment", "cluster_name": START_CLUSTER}
    return _signed({"resources": [assignment]})


def _cluster(name: str, port: int) -> dict[str, Any]:
    return {
        "@type": f"{_TYPE}config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": _CONNECT_TIMEOUT,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": _IDLE_TIMEOUT},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
    }


def clusters(known: Iterable[RouteLike]) -> str:
    """Render one cluster for each target of all routes, and one for matched requests."""
    targets: dict[str, int] = {}
    for route in known:
        targets.update(route.targets)
        if route.match is not None:
            targets[route.match.target + _MATCHED] = route.targets[route.match.target]
    return _signed({"resources": [_cluster(name, port) for name, port in sorted(targets.items())]})


def _model_route(route: RouteLike, timeout_seconds: float) -> dict[str, Any]:
    match = {"path_separated_prefix": f"/v2/models/{route.route}"}
    weights = {name: weight for name, weight in sorted(route.weights.items()) if weight > 0}
    if not weights:
        body = f"model {route.route!r} has no server with traffic"
        return {"match": match, "direct_response": {"status": 503, "body": {"inline_string": body}}}
    entries = [
        {"name": name, "weight": weight, "response_headers_to_add": _says(name)} for name, weight in weights.items()
    ]
    action: dict[str, Any] = {"weighted_clusters": {"clusters": entries}, **_patience(timeout_seconds)}
    if route.mirror is not None:
        share = {"numerator": route.mirror.percent, "denominator": "HUNDRED"}
        action["request_mirror_policies"] = [
            {"cluster": route.mirror.target, "runtime_fraction": {"default_value": share}}
        ]
    if route.sticky is not None:
        # Entries are sorted and weights sum to 100, so a key's place among them stays: when one of two targets gains
        # weight, the border between them moves and keys cross it in one direction only.
        action["weighted_clusters"]["use_hash_policy"] = True
        action["hash_policy"] = [_key(route.sticky)]
    return {"match": match, "route": action}


def _matched_route(route: RouteLike, match: Match, timeout_seconds: float) -> dict[str, Any]:
    headers = [{"name": name, "string_match": {"exact": value}} for name, value in sorted(match.headers.items())]
    return {
        "match": {"path_separated_prefix": f"/v2/models/{route.route}", "headers": headers},
        "route": {"cluster": match.target + _MATCHED, **_patience(timeout_seconds)},
        "response_headers_to_add": _says(match.target),
    }


def _says(target: str) -> list[dict[str, Any]]:
    header = {"key": "x-model-version", "value": target}
    return [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]


def _patience(timeout_seconds: float) -> dict[str, Any]:
    return {
        "timeout": f"{timeout_seconds:g}s",
        # Never on an answer: whoever judges the canary must see its errors.
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 1},
    }


def _key(sticky: Sticky) -> dict[str, Any]:
    if sticky.header is not None:
        return {"header": {"header_name": sticky.header}}
    # Envoy gives no cookies when it chooses among weights, whatever lifetime is asked for.
    return {"cookie": {"name": sticky.cookie}}


def routes(known: Iterable[RouteLike], *, timeout_seconds: float) -> str:
    """Render the split of every route.

    :param timeout_seconds: after which a request is answered with status 504
    """
    entries = []
    for route in sorted(known, key=lambda route: route.route):
        if route.match is not None:  # the first that fits is taken
            entries.append(_matched_route(route, route.match, timeout_seconds))
        entries.append(_model_route(route, timeout_seconds))
    host = {"name": "models", "domains": ["*"], "routes": entries}
    configuration = {
        "@type": f"{_TYPE}config.route.v3.RouteConfiguration",
        "name": ROUTE_CONFIGURATION,
        "virtual_hosts": [host],
    }
    return _signed({"resources": [configuration]})
