"""What the counters of a rollout's arms are called at a Prometheus server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from airflow_mlops.exceptions import SpecificationError

__all__ = ["TEMPLATES", "Named", "SeriesTemplate"]

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FIELD = re.compile(r"\{(\w+)\}")
_PARTS = ("target", "model", "version")


@dataclass(frozen=True, kw_only=True)
class Named:
    """Counters by name.

    :param metric: name of the counter
    :param labels: label to the regular expression that its whole value has to match; empty for all of that name
    """

    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no server can look up."""
        if not _METRIC.fullmatch(self.metric):
            raise SpecificationError("metric", self.metric, "the name of a counter, as the server writes it")
        for label, pattern in self.labels.items():
            _check_label(label)
            try:
                re.compile(pattern)
            except re.error as error:
                raise SpecificationError(f"labels[{label!r}]", pattern, f"a regular expression ({error})") from error

    @cached_property
    def _patterns(self) -> Mapping[str, re.Pattern[str]]:
        return {label: re.compile(pattern) for label, pattern in self.labels.items()}

    def has(self, series: Mapping[str, str]) -> bool:
        """Whether a series, named by all its labels, is one of these counters."""
        return series["__name__"] == self.metric and all(
            pattern.fullmatch(series.get(label, "")) for label, pattern in self._patterns.items()
        )


@dataclass(frozen=True, kw_only=True)
class SeriesTemplate:
    """Which series count what, and how they name the target.

    :param target: label to its value for a target, with ``{target}`` for the target's name, or ``{model}`` and
        ``{version}`` for the parts of ``<model>-v<version>``
    :param requests: counters of finished requests
    :param errors: counters of those that failed on the server's side
    :param durations: name of the histogram of durations without ``_bucket`` and ``_count``; None if there is none
    :param unit: of the histogram's edges
    :param timeouts: counters of requests that timed out, where the histogram leaves them out
    :param labels: labels that every series must have, with their values
    """

    target: Mapping[str, str]
    requests: Named
    errors: Named
    durations: str | None = None
    unit: Literal["ms", "s"] = "ms"
    timeouts: Named | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse templates that name no target."""
        parts = {part for value in self.target.values() for part in _FIELD.findall(value)}
        if not parts or not parts <= set(_PARTS) or not ("target" in parts or {"model", "version"} <= parts):
            raise SpecificationError("target", dict(self.target), "labels with {target}, or with {model} and {version}")
        for label in (*self.target, *self.labels):
            _check_label(label)

    def values_of(self, target: str) -> dict[str, str]:
        """Return the labels that name a target.

        :raises SpecificationError: when the target has not the parts that are asked for
        """
        model, separator, version = target.rpartition("-v")
        if not separator and any("{target}" not in value for value in self.target.values()):
            raise SpecificationError("target", target, "a name of the form <model>-v<version>")
        return {
            label: value.format(target=target, model=model, version=version) for label, value in self.target.items()
        }

    def edge(self, slow_ms: int) -> float:
        """Return an edge in the histogram's unit."""
        return slow_ms if self.unit == "ms" else slow_ms / 1000

    def roles(self, series: Mapping[str, str], slow_ms: int | None) -> tuple[str, ...]:
        """Return what a series counts: ``requests``, ``errors``, ``timeouts``, ``timed`` and ``fast``, or nothing."""
        name = series["__name__"]
        named = {"requests": self.requests, "errors": self.errors, "timeouts": self.timeouts}
        found = [role for role, counters in named.items() if counters is not None and counters.has(series)]
        if self.durations is not None and slow_ms is not None:
            if name == f"{self.durations}_count":
                found.append("timed")
            elif name == f"{self.durations}_bucket" and _number(series.get("le", "")) == self.edge(slow_ms):
                found.append("fast")
        return tuple(found)

    def selector(self, targets: Sequence[str], slow_ms: int | None, *, all_edges: bool = False) -> str:
        """Return the one selector of all series, so that one answer shows them all at one moment.

        :param all_edges: ask for the buckets only, whatever their edge
        """
        names = {self.requests.metric, self.errors.metric}
        if slow_ms is not None:
            names |= {self.timeouts.metric} if self.timeouts else set()
            names |= {f"{self.durations}_bucket", f"{self.durations}_count"} if self.durations else set()
        if all_edges:
            names = {f"{self.durations}_bucket"}
        matchers = [f'__name__=~"{"|".join(sorted(names))}"']
        known = [self.values_of(target) for target in targets]
        for label in self.target:
            values = sorted({re.escape(one[label]) for one in known})
            matchers += [f"{label}=~{_quoted('|'.join(values))}"]
        matchers += [f"{label}={_quoted(value)}" for label, value in self.labels.items()]
        if slow_ms is not None and not all_edges:
            # A series without the label has it empty: counters without buckets are let through.
            matchers.append(f"le=~{_quoted('|' + '|'.join(_spellings(self.edge(slow_ms))))}")
        return "{" + ", ".join(matchers) + "}"


def _check_label(label: str) -> None:
    if not _LABEL.fullmatch(label):
        raise SpecificationError("labels", label, "names of labels: letters, digits and _")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _spellings(edge: float) -> list[str]:
    """Write an edge as exporters do: some 1, some 1.0."""
    return sorted({re.escape(f"{edge:g}"), re.escape(str(float(edge))), re.escape(repr(edge))})


#: Ready-made templates by name. ``envoy``: clusters named as targets, statuses of 500 and more. ``istio``: workloads
#: named as targets, seen from the server's side. ``model_server``: what airflow-mlops' own server exports: requests
#: that it could not answer; those that were wrong themselves are no errors.
TEMPLATES: Mapping[str, SeriesTemplate] = {
    "envoy": SeriesTemplate(
        target={"envoy_cluster_name": "{target}"},
        requests=Named(metric="envoy_cluster_upstream_rq_completed"),
        errors=Named(metric="envoy_cluster_upstream_rq_xx", labels={"envoy_response_code_class": "5"}),
        durations="envoy_cluster_upstream_rq_time",
        timeouts=Named(metric="envoy_cluster_upstream_rq_timeout"),
    ),
    "istio": SeriesTemplate(
        target={"destination_workload": "{target}"},
        requests=Named(metric="istio_requests_total"),
        errors=Named(metric="istio_requests_total", labels={"response_code": "5.."}),
        durations="istio_request_duration_milliseconds",
        labels={"reporter": "destination"},
    ),
    "model_server": SeriesTemplate(
        target={"model": "{model}", "version": "{version}"},
        requests=Named(metric="mlops_model_request_seconds_count"),
        errors=Named(metric="mlops_model_errors_total", labels={"kind": "prediction|fault"}),
        durations="mlops_model_request_seconds",
        unit="s",
    ),
}
