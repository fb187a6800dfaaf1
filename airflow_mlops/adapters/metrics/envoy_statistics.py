"""Counters of a rollout's arms from Envoy's own statistics: no metrics server is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from airflow_mlops.clock import Clock, SystemClock
from airflow_mlops.exceptions import ContractError, SpecificationError, TransientAdapterError
from airflow_mlops.rollout.observation import ArmCounters

__all__ = ["EnvoyStatistics", "parse"]

_LINE = re.compile(r"^envoy_cluster_(?P<metric>[a-z0-9_]+)\{(?P<labels>[^}]*)\} (?P<value>[0-9.eE+-]+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_WANTED = r"upstream_rq_(completed|timeout|time|5xx)$"
#: The gateway's bootstrap has a cluster whose endpoints are read once, at Envoy's start, with the time when they were.
_START, _STARTED = "gateway_start", "update_time"


class EnvoyStatistics:
    """Reads counters at Envoy's admin port; implements :class:`airflow_mlops.rollout.ports.TrafficMetrics`.

    All counters begin again at zero with Envoy. Where it runs with the gateway's own bootstrap, their ``life`` is when
    it started, so this is noticed even if they grew past their old values; elsewhere only a fall shows it.

    :param admin_url: for example ``http://127.0.0.1:8101``
    :param timeout_seconds: after which an answer counts as none
    :param clock: what time it is
    """

    def __init__(self, admin_url: str, *, timeout_seconds: float = 3.0, clock: Clock | None = None) -> None:
        self._admin_url = admin_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._clock = clock or SystemClock()

    def read(
        self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()
    ) -> Mapping[str, ArmCounters]:
        """Return the counters of the targets; one that Envoy does not know is missing from the result.

        :param targets: cluster names
        :param slow_ms: the edge above which a request is slow, one of Envoy's; None counts none as slow
        :param tallies: none: Envoy counts neither labels nor predictions nor users
        :raises SpecificationError: when a tally is wanted, or Envoy has no such edge
        :raises TransientAdapterError: when Envoy does not answer
        :raises ContractError: when the answer is not what Envoy writes
        """
        import httpx

        if tallies:
            raise SpecificationError(
                "tallies", ", ".join(tallies), "none from Envoy's statistics; another source of metrics counts them"
            )
        names = "|".join(re.escape(name) for name in targets)
        try:
            answer = _client(self._timeout_seconds).get(
                f"{self._admin_url}/stats/prometheus",
                params={"filter": rf"^cluster\.(({names})\.{_WANTED}|{_START}\.{_STARTED}$)"},
            )
        except httpx.TransportError as error:
            raise TransientAdapterError(f"Envoy's statistics at {self._admin_url} cannot be read: {error}") from error
        if answer.status_code != 200:
            raise TransientAdapterError(f"Envoy's statistics at {self._admin_url}: status {answer.status_code}")
        return parse(answer.text, targets, slow_ms=slow_ms, at=self._clock.now())


@cache
def _client(timeout_seconds: float) -> Any:
    """Return the client of all rollouts in this process: making one costs more than a look, and most of a megabyte.

    It keeps no connection between looks, and never goes through a proxy: the admin port is near.
    """
    import httpx

    return httpx.Client(timeout=timeout_seconds, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def parse(text: str, targets: Sequence[str], *, slow_ms: int | None, at: float) -> dict[str, ArmCounters]:
    """Read counters out of Envoy's Prometheus text.

    :raises SpecificationError: when Envoy has no bucket that ends at ``slow_ms``
    :raises ContractError: when a counter is missing that Envoy always has
    """
    values: dict[tuple[str, str, str], int] = {}
    for line in _LINE.finditer(text):
        labels = dict(_LABEL.findall(line["labels"]))
        detail = labels.get("le") or labels.get("envoy_response_code_class") or ""
        values[labels.get("envoy_cluster_name", ""), line["metric"], detail] = int(float(line["value"]))
    known = {cluster for cluster, _, _ in values}
    started = values.get((_START, _STARTED, ""), 0)
    life = f"Envoy from {started / 1000:.3f}" if started else ""
    return {name: replace(_arm(values, name, slow_ms, at), life=life) for name in targets if name in known}


def _arm(values: Mapping[tuple[str, str, str], int], name: str, slow_ms: int | None, at: float) -> ArmCounters:
    def always(metric: str, detail: str = "") -> int:
        try:
            return values[name, metric, detail]
        except KeyError:
            raise ContractError(f"Envoy's statistics: {metric} of {name!r} is missing") from None

    # Envoy makes the counter of a status class when the first such answer comes: no counter, no such answer.
    errors = values.get((name, "upstream_rq_xx", "5"), 0)
    requests = always("upstream_rq_completed")
    if slow_ms is None:
        return ArmCounters(requests=requests, errors=errors, at=at)
    # A request that timed out has no duration, and was slow.
    timeouts = always("upstream_rq_timeout")
    measured = values.get((name, "upstream_rq_time_count", ""), 0)
    if measured == 0:
        return ArmCounters(requests=requests, errors=errors, timed=timeouts, slow=timeouts, at=at)
    fast = values.get((name, "upstream_rq_time_bucket", str(slow_ms)))
    if fast is None:
        edges = sorted(float(edge) for key, metric, edge in values if key == name and metric.endswith("_bucket"))
        raise SpecificationError("slow_ms", slow_ms, "an edge that Envoy has: " + ", ".join(f"{e:g}" for e in edges))
    return ArmCounters(
        requests=requests, errors=errors, timed=measured + timeouts, slow=measured - fast + timeouts, at=at
    )
