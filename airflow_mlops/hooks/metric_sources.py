"""What counts in a rollout, as a gateway's connection names it: requests from one source, tallies from others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.adapters.metrics.series import SeriesTemplate
    from airflow_mlops.adapters.metrics.tallies import TallySource
    from airflow_mlops.rollout.ports import TrafficMetrics

__all__ = ["connections_of", "open_metrics"]

_DEFAULT_PROMETHEUS = "prometheus_default"
_REQUESTS = ("envoy", "prometheus")


@dataclass(frozen=True, kw_only=True)
class _Envoy:
    source: str


@dataclass(frozen=True, kw_only=True)
class _Prometheus:
    source: str
    conn_id: str = _DEFAULT_PROMETHEUS
    labels: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, str] = field(default_factory=dict)
    scrape_seconds: float = 15.0
    missed_scrapes: int = 3
    span_seconds: float = 3600.0


@dataclass(frozen=True, kw_only=True)
class _PredictionLog:
    source: str
    predictions: str


@dataclass(frozen=True, kw_only=True)
class _LabelsInFiles:
    source: str
    predictions: str
    labels: str
    age_seconds: float
    settle_seconds: float = 5.0
    positive_at: float = 0.5


@dataclass(frozen=True, kw_only=True)
class _LabelsInSql:
    source: str
    predictions: str
    conn_id: str
    query: str
    age_seconds: float
    settle_seconds: float = 5.0
    positive_at: float = 0.5


@dataclass(frozen=True, kw_only=True)
class _AccessLog:
    source: str
    directory: str
    period_seconds: float = 60.0


_TALLIES: Mapping[str, type[_PredictionLog | _LabelsInFiles | _LabelsInSql | _AccessLog]] = {
    "prediction_log": _PredictionLog,
    "labels_files": _LabelsInFiles,
    "labels_sql": _LabelsInSql,
    "access_log": _AccessLog,
}


def connections_of(given: Any) -> list[str]:
    """Return the connections that a source names, of what is no proper source none."""
    if isinstance(given, str):
        given = _parsed(given)
    if given == "prometheus":
        return [_DEFAULT_PROMETHEUS]
    if not isinstance(given, Mapping):
        return []
    tallies = given.get("tallies")
    parts = [given, *(tallies if isinstance(tallies, list) else ())]
    named = [part.get("conn_id") for part in parts if isinstance(part, Mapping)]
    if given.get("source") == "prometheus":
        named.append(given.get("conn_id", _DEFAULT_PROMETHEUS))
    return sorted({name for name in named if isinstance(name, str)})


def open_metrics(
    given: Any,
    *,
    envoy: Callable[[], TrafficMetrics],
    read: Callable[[str], Connection],
    where: str,
    series: str = "envoy",
) -> TrafficMetrics:
    """Open what counts; nothing is asked yet.

    :param given: ``envoy``, ``prometheus``, or a mapping with ``source`` and its fields, also as JSON; its ``tallies``
        are a list of further sources, see docs/metric-sources.md
    :param envoy: opens Envoy's own statistics
    :param read: reads an Airflow connection
    :param where: what leads the field of an error
    :param series: what Prometheus' series are called where the source does not say
    :raises SpecificationError: naming the field that is wrong
    """
    given = _parsed(given) if isinstance(given, str) else given
    if isinstance(given, str):
        given = {"source": given}
    if not isinstance(given, Mapping) or given.get("source") not in _REQUESTS:
        raise SpecificationError(where, given, f"one of {', '.join(_REQUESTS)}, or a mapping with that as its source")
    document = dict(given)
    tallies = document.pop("tallies", [])
    requests: TrafficMetrics
    if document["source"] == "envoy":
        decode(_Envoy, document, where=where)
        requests = envoy()
    else:
        requests = _prometheus({"series": series, **document}, read, where)
    if not isinstance(tallies, Sequence) or isinstance(tallies, str):
        raise SpecificationError(f"{where}.tallies", tallies, "a list of sources")
    if not tallies:
        return requests
    from airflow_mlops.adapters.metrics.combined import CombinedMetrics

    return CombinedMetrics(
        requests, [_tallies(one, read, f"{where}.tallies[{position}]") for position, one in enumerate(tallies)]
    )


def _parsed(text: str) -> Any:
    """Read JSON out of a text: a connection's form gives that where its extra could hold a mapping."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _prometheus(document: dict[str, Any], read: Callable[[str], Connection], where: str) -> TrafficMetrics:
    from airflow_mlops.adapters.metrics.prometheus import PrometheusMetrics

    series = document.pop("series")
    wanted = decode(_Prometheus, document, where=where)
    template = _template(series, f"{where}.series")
    return PrometheusMetrics(
        _access(wanted.conn_id, read),
        replace(template, labels={**template.labels, **wanted.labels}, target=wanted.target or template.target),
        scrape_seconds=wanted.scrape_seconds,
        missed_scrapes=wanted.missed_scrapes,
        span_seconds=wanted.span_seconds,
    )


def _template(given: Any, where: str) -> SeriesTemplate:
    from airflow_mlops.adapters.metrics.series import TEMPLATES, SeriesTemplate

    if isinstance(given, Mapping):
        return decode(SeriesTemplate, given, where=where)
    if given not in TEMPLATES:
        raise SpecificationError(where, given, f"one of {', '.join(TEMPLATES)}, or names of series as a mapping")
    return TEMPLATES[given]


def _access(conn_id: str, read: Callable[[str], Connection]) -> Any:
    from airflow_mlops.adapters.metrics.prometheus import Access

    connection = read(conn_id)
    if not connection.host:
        raise SpecificationError(f"connection {conn_id!r}, host", connection.host, "where Prometheus answers")
    extra = connection.extra_dejson
    scheme, separator, rest = connection.host.partition("://")
    host, path = (rest if separator else connection.host).partition("/")[::2]
    scheme = scheme if separator else (connection.schema or "http")
    port = f":{connection.port}" if connection.port else ""
    verify = extra.get("verify", True)
    if not isinstance(verify, (bool, str)):
        raise SpecificationError(f"connection {conn_id!r}, extra.verify", verify, "true, false or the path of a file")
    # A token goes with no user's name.
    token = extra.get("token")
    return Access(
        url=f"{scheme}://{host}{port}/{path}".rstrip("/"),
        name=f"Prometheus of connection {conn_id!r}",
        login=None if token else connection.login or None,
        password=token or connection.password or None,
        verify=verify,
    )


def _tallies(given: Any, read: Callable[[str], Connection], where: str) -> TallySource:
    from airflow_mlops.adapters.metrics.prediction_log import PredictionLogTallies

    kind = given.get("source") if isinstance(given, Mapping) else given
    if not isinstance(kind, str) or kind not in _TALLIES:
        raise SpecificationError(f"{where}.source", kind, f"one of {', '.join(_TALLIES)}")
    wanted = decode(_TALLIES[kind], given, where=where)
    if isinstance(wanted, _AccessLog):
        from airflow_mlops.adapters.metrics.access_log import AccessLogTallies

        folder = _folder(wanted.directory, f"{where}.directory")
        return AccessLogTallies(folder, period_seconds=wanted.period_seconds)
    predictions = _folder(wanted.predictions, f"{where}.predictions")
    if isinstance(wanted, _PredictionLog):
        return PredictionLogTallies(predictions)

    from airflow_mlops.adapters.metrics.equal_age import LabelLookup, LabelTallies
    from airflow_mlops.adapters.metrics.labels_files import FileLabels
    from airflow_mlops.adapters.metrics.labels_sql import SqlLabels
    from airflow_mlops.hooks.sql import open_table

    labels: LabelLookup
    if isinstance(wanted, _LabelsInFiles):
        labels = FileLabels(_folder(wanted.labels, f"{where}.labels"))
    else:
        labels = SqlLabels(open_table(wanted.conn_id, query=wanted.query, connection=read(wanted.conn_id)))
    return LabelTallies(
        predictions,
        labels,
        age_seconds=wanted.age_seconds,
        settle_seconds=wanted.settle_seconds,
        positive_at=wanted.positive_at,
    )


def _folder(text: str, where: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise SpecificationError(where, text, "the absolute path of a folder")
    return path
