"""Counters of a rollout's arms from a Prometheus server, or from anything that answers its queries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow_mlops.adapters.metrics.counter_account import CounterAccount, Samples
from airflow_mlops.adapters.metrics.series import SeriesTemplate
from airflow_mlops.clock import Clock, SystemClock
from airflow_mlops.exceptions import (
    ContractError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.rollout.observation import ArmCounters

__all__ = ["Access", "PrometheusMetrics"]

#: Labels that tell one counting process from another.
_PROCESS = ("cluster", "namespace", "job", "instance", "pod")
_LONGEST_MESSAGE = 300
_BASELINE_WINDOW = "1d"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the server is, and who asks.

    :param url: for example ``http://prometheus:9090``, without name and password
    :param name: how messages call it
    :param login: user name, None for none
    :param password: the user's; without a user name it is sent as a token
    :param verify: whether the server's certificate is checked, or the file of the authority that signed it
    """

    url: str
    name: str
    login: str | None = None
    password: str | None = None
    verify: bool | str = True

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Access({self.name!r}, {self.url!r})"


class PrometheusMetrics:
    """Adds up what counters grew by; implements :class:`airflow_mlops.rollout.ports.TrafficMetrics`.

    The stored samples are asked for, no averages. A look is one request: all series of both arms, as they were at one
    moment. The first look of a process, and the first one after a span ends, are two.

    What is promised: counters count from the last multiple of ``span_seconds`` on, which is their ``life``; at its end
    they begin again at zero, for both arms in the same look. In between they are a function of the samples that the
    server stored, whichever process asks: they never fall, a restart of one of several pods takes nothing away, and
    spans of time between looks add up without a gap or an overlap. A look that crosses the end of a span loses
    what came before the end, of both arms alike. See
    :class:`~airflow_mlops.adapters.metrics.counter_account.CounterAccount` for restarts and for series that are new.
    The server must be one: replicas that hold different samples, asked in turn, contradict each other.

    :param access: where to ask
    :param template: which series count what
    :param scrape_seconds: the server's time between two samples of a series
    :param missed_scrapes: so many samples may be missing before a target's counters count as unknown
    :param span_seconds: how long counters go on before they begin again; the first look of a process asks for so much
    :param timeout_seconds: after which an answer counts as none
    :param clock: what time it is, which must be the server's time within a scrape
    """

    def __init__(
        self,
        access: Access,
        template: SeriesTemplate,
        *,
        scrape_seconds: float = 15.0,
        missed_scrapes: int = 3,
        span_seconds: float = 3600.0,
        timeout_seconds: float = 3.0,
        clock: Clock | None = None,
    ) -> None:
        if scrape_seconds <= 0:
            raise SpecificationError("scrape_seconds", scrape_seconds, "more than 0 seconds")
        if missed_scrapes < 1:
            raise SpecificationError("missed_scrapes", missed_scrapes, "at least 1")
        if span_seconds < 20 * scrape_seconds:
            raise SpecificationError("span_seconds", span_seconds, f"at least 20 scrapes, {20 * scrape_seconds:g} s")
        self._access = access
        self._template = template
        self._stale_seconds = scrape_seconds * (missed_scrapes + 1)
        self._span_seconds = span_seconds
        self._timeout_seconds = timeout_seconds
        self._clock = clock or SystemClock()
        self._accounts: dict[tuple[Any, ...], tuple[CounterAccount, float]] = {}
        self._client: Any = None

    def read(
        self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()
    ) -> Mapping[str, ArmCounters]:
        """Return the counters of the targets; one of which the server has no series is missing from the result.

        :param targets: names of the arms
        :param slow_ms: the edge above which a request is slow, one of the histogram's; None counts none as slow
        :param tallies: none: a metrics server knows neither labels nor users
        :raises SpecificationError: when a tally is wanted, or there are no durations with such an edge
        :raises TransientAdapterError: when the server does not answer, answers in part only, or its last samples of a
            target are too old
        :raises PermanentAdapterError: when it refuses the query or who asks
        :raises ContractError: when its answer is none of Prometheus'
        """
        if tallies:
            raise SpecificationError(
                "tallies", ", ".join(tallies), "none from Prometheus; another source of metrics counts them"
            )
        if slow_ms is not None and self._template.durations is None:
            raise SpecificationError("slow_ms", slow_ms, "nothing, because the series have no histogram of durations")
        now = self._clock.now()
        account = self._account(tuple(targets), slow_ms, now)
        return {
            target: self._arm(account, target, slow_ms, now)
            for target in targets
            if account.total(target, "requests") is not None
        }

    def _account(self, targets: tuple[str, ...], slow_ms: int | None, now: float) -> CounterAccount:
        selector = self._template.selector(targets, slow_ms)
        origin = now - now % self._span_seconds
        account, read_until = self._accounts.get((targets, slow_ms), (None, 0.0))
        if account is None or account.origin != origin or read_until > now:
            account, read_until = CounterAccount(origin=origin, grace_seconds=self._stale_seconds), origin
            query = f"last_over_time({selector}[{_BASELINE_WINDOW}])"
            account.begin(self._samples(self._ask(query, origin), targets, slow_ms))
        # A sample may be stored later than its moment: those of some scrapes before are asked for once more.
        since = now - read_until + self._stale_seconds
        found = self._ask(f"{selector}[{math.ceil(since * 1000)}ms]", now)
        account.add(self._samples(found, targets, slow_ms))
        self._accounts = {(targets, slow_ms): (account, now)}
        return account

    def _arm(self, account: CounterAccount, target: str, slow_ms: int | None, now: float) -> ArmCounters:
        seen_at = account.seen_at.get(target)
        if seen_at is None or seen_at < now - self._stale_seconds:
            age = "older" if seen_at is None else f"{now - seen_at:.0f} s old"
            raise TransientAdapterError(
                f"{self._access.name}: the last sample of {target} is {age}; "
                f"what is older than {self._stale_seconds:g} s tells nothing about now"
            )
        counted = {role: account.total(target, role) for role in ("requests", "errors", "timed", "fast", "timeouts")}
        requests, errors = counted["requests"] or 0, counted["errors"] or 0
        life = f"{self._access.name} from {account.origin:.0f}"
        if slow_ms is None:
            return ArmCounters(requests=requests, errors=errors, at=now, life=life)
        timed, fast, timeouts = counted["timed"], counted["fast"], counted["timeouts"] or 0
        if timed is not None and fast is None:
            raise SpecificationError("slow_ms", slow_ms, f"an edge that the histogram has: {self._edges(target, now)}")
        slow = (timed or 0) - (fast or 0)
        if slow < 0:
            raise ContractError(f"{self._access.name}: {target} has more requests within {slow_ms} ms than at all")
        return ArmCounters(
            requests=requests, errors=errors, timed=(timed or 0) + timeouts, slow=slow + timeouts, at=now, life=life
        )

    def _edges(self, target: str, now: float) -> str:
        selector = self._template.selector([target], None, all_edges=True)
        found = self._ask(f"count by (le) ({selector})", now)
        factor = 1 if self._template.unit == "ms" else 1000
        edges = sorted(float(one["metric"].get("le", "inf")) * factor for one in found)
        return ", ".join(f"{edge:g}" for edge in edges) or "none at all"

    def _samples(self, found: Iterable[Any], targets: Sequence[str], slow_ms: int | None) -> list[Samples]:
        names = {tuple(sorted(self._template.values_of(target).items())): target for target in targets}
        samples = []
        for one in found:
            labels = one["metric"]
            target = names.get(tuple(sorted((label, labels.get(label, "")) for label in self._template.target)))
            roles = self._template.roles(labels, slow_ms)
            if target is None or not roles:
                continue
            values = one.get("values") or [one["value"]]
            samples.append(
                Samples(
                    key=tuple(sorted(labels.items())),
                    process=tuple(labels.get(label, "") for label in _PROCESS),
                    target=target,
                    roles=roles,
                    values=[(float(at), self._value(value, labels)) for at, value in values],
                )
            )
        return samples

    def _value(self, text: str, labels: Mapping[str, str]) -> float:
        value = float(text)
        if not math.isfinite(value) or value < 0:
            raise TransientAdapterError(f"{self._access.name}: {labels['__name__']} is {text}, no count")
        return value

    def _ask(self, query: str, at: float) -> list[Any]:
        import httpx

        name = self._access.name
        try:
            answer = self._open().post("/api/v1/query", data={"query": query, "time": f"{at:.3f}"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransientAdapterError(f"{name} does not answer: {type(error).__name__}: {error}") from None
        if answer.status_code in (401, 403):
            raise PermanentAdapterError(f"{name} refuses who asks: status {answer.status_code}")
        try:
            document = answer.json()
            failed = document["status"] != "success"
        except (ValueError, KeyError, TypeError):
            if answer.status_code != 200:
                raise TransientAdapterError(f"{name}: status {answer.status_code}") from None
            raise ContractError(f"{name}: the answer is none of Prometheus'") from None
        if failed:
            said = f"{document.get('errorType')}: {document.get('error')}"[:_LONGEST_MESSAGE]
            if document.get("errorType") == "bad_data":
                raise PermanentAdapterError(f"{name} refuses the query: {said}")
            raise TransientAdapterError(f"{name} has no answer: {said}")
        if document.get("warnings"):
            # A part of the samples is missing, and nobody knows which.
            said = "; ".join(map(str, document["warnings"]))[:_LONGEST_MESSAGE]
            raise TransientAdapterError(f"{name} answers in part only: {said}")
        return _result(document, name)

    def _open(self) -> Any:
        import ssl

        import httpx

        if self._client is None:
            access = self._access
            verify = (
                ssl.create_default_context(cafile=access.verify)
                if isinstance(access.verify, str)
                else access.verify and _usual_authorities()
            )
            basic = httpx.BasicAuth(access.login, access.password or "") if access.login else None
            bearer = {"Authorization": f"Bearer {access.password}"} if access.password and not access.login else {}
            self._client = httpx.Client(
                base_url=access.url.rstrip("/"),
                auth=basic,
                headers=bearer,
                timeout=self._timeout_seconds,
                verify=verify,
                limits=httpx.Limits(max_keepalive_connections=0),
            )
        return self._client


@cache
def _usual_authorities() -> Any:
    """Return what httpx verifies certificates with, once per process: it is most of a megabyte."""
    import httpx

    return httpx.create_ssl_context()


def _result(document: Mapping[str, Any], name: str) -> list[Any]:
    data = document.get("data")
    found = data.get("result") if isinstance(data, Mapping) else None
    if not isinstance(found, list):
        raise ContractError(f"{name}: the answer is none of Prometheus'")
    for one in found:
        if "histogram" in one or "histograms" in one:
            raise PermanentAdapterError(
                f"{name}: {one['metric'].get('__name__')} is a native histogram; buckets with edges are needed"
            )
    return found
