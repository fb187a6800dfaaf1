"""The traffic generator's loop: sends by the clock, notes what came back, appends labels when they fall due."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_mlops.container.inference import build_request
from airflow_mlops.container.lines import LineFile, read_lines
from airflow_mlops.local.prepared import PreparedRequest, TrafficOptions
from airflow_mlops.local.trace import percentile

if TYPE_CHECKING:
    import httpx

__all__ = ["Traffic"]

_Send = Callable[[bytes], Awaitable[tuple[int, str | None, str | None]]]

_REPORT_SECONDS = 5.0
_NAP_SECONDS = 0.25
_LATE_SECONDS = 1.0
_OWED_BYTES = 4_000_000


@dataclass(kw_only=True)
class _Counts:
    """What happened since the last report."""

    sent: int = 0
    dropped: int = 0
    labels: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    servers: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def line(self, seconds: float, waiting: int) -> str:
        answers = ", ".join(f"{status or 'no answer'}: {count}" for status, count in sorted(self.statuses.items()))
        servers = ", ".join(f"{name} {count}" for name, count in sorted(self.servers.items()))
        return (
            f"{time.strftime('%H:%M:%S')} sent {self.sent} ({self.sent / max(seconds, 0.001):.1f}/s), "
            f"answers [{answers}], by [{servers}], "
            f"p50 {percentile(self.latencies_ms, 50):.1f} ms, p95 {percentile(self.latencies_ms, 95):.1f} ms, "
            f"dropped by the generator {self.dropped}, labels {self.labels} written, {waiting} waiting"
        )


class Traffic:
    """One run of the generator.

    :param options: what to do
    :param requests: the requests, in order
    """

    def __init__(self, options: TrafficOptions, requests: Sequence[PreparedRequest]) -> None:
        self._options = options
        self._requests = requests
        self._trace = LineFile(options.trace)
        self._labels = LineFile(options.labels)
        self._pending: deque[tuple[float, PreparedRequest]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._stopping = False
        self._counts = _Counts()

    def stop(self) -> None:
        """Send nothing more; :meth:`run` returns when the requests under way are over."""
        self._stopping = True

    async def run(self) -> None:
        """Send everything, wait for the answers, append all labels.

        :raises OSError: if trace or labels could not be written
        """
        import httpx

        self._pay_owed_labels()
        options = self._options
        limits = httpx.Limits(max_connections=options.max_in_flight, max_keepalive_connections=options.max_in_flight)
        # The bare transport: cookies, redirects and proxies have no part here and cost as much as the request itself.
        async with httpx.AsyncHTTPTransport(limits=limits) as transport:
            send = self._sender(transport)
            background = asyncio.create_task(self._background())
            try:
                await self._send_all(send)
                if self._in_flight:
                    await asyncio.wait(self._in_flight)
                while self._pending and not self._stopping:  # noqa: ASYNC110 - they fall due by time
                    await asyncio.sleep(_NAP_SECONDS)
            finally:
                background.cancel()
                self._write_labels(due=float("inf"))
                self._trace.close()
                self._labels.close()
        if self._failure is not None:
            raise self._failure

    def _pay_owed_labels(self) -> None:
        """Append the labels of requests that an earlier process sent but did not live to label."""
        asked = read_lines([self._options.trace], last_bytes=_OWED_BYTES).documents
        labelled = {line.get("id") for line in read_lines([self._options.labels], last_bytes=_OWED_BYTES).documents}
        known = {request.id: request for request in self._requests}
        owed = {line.get("id") for line in asked} - labelled
        for request_id in sorted(known.keys() & owed):
            self._pending.append((0.0, known[request_id]))
        self._write_labels(due=0.0)

    async def _send_all(self, send: _Send) -> None:
        began = time.monotonic()
        schedule = began
        for number, request in enumerate(self._source()):
            due = schedule + number / self._options.rate
            if due < time.monotonic() - _LATE_SECONDS:
                # This process was held up: go on from now instead of sending everything at once.
                schedule += time.monotonic() - due
            while (wait := due - time.monotonic()) > 0 and not self._stopping:  # noqa: ASYNC110 - woken by time
                await asyncio.sleep(min(wait, _NAP_SECONDS))
            if self._stopping or (self._options.seconds is not None and due - began >= self._options.seconds):
                return
            if len(self._in_flight) >= self._options.max_in_flight:
                self._counts.dropped += 1
                # Without a pause a generator that is late would drop everything before any answer is read.
                await asyncio.sleep(0)
                continue
            task = asyncio.create_task(self._ask(send, request))
            self._in_flight.add(task)
            task.add_done_callback(self._answered)

    def _source(self) -> Iterator[PreparedRequest]:
        endless = itertools.cycle(self._requests) if self._options.loop else iter(self._requests)
        return itertools.islice(endless, self._options.limit)

    def _sender(self, transport: httpx.AsyncHTTPTransport) -> _Send:
        import httpx

        url = httpx.URL(self._options.url)
        headers = {"content-type": "application/json", "host": url.netloc.decode()}
        seconds = self._options.timeout_seconds
        extensions = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)}

        async def send(body: bytes) -> tuple[int, str | None, str | None]:
            """Return status, server and kind of error."""
            request = httpx.Request("POST", url, headers=headers, content=body, extensions=extensions)
            try:
                response = await transport.handle_async_request(request)
                await response.aread()
            except (httpx.HTTPError, httpx.StreamError) as error:
                return 0, None, type(error).__name__
            return response.status_code, response.headers.get("x-model-version"), None

        return send

    async def _ask(self, send: _Send, request: PreparedRequest) -> None:
        body = json.dumps(build_request([request.features], request.id)).encode()
        sent_at, began = time.time(), time.perf_counter()
        status, server, problem = await send(body)
        milliseconds = (time.perf_counter() - began) * 1000
        line: dict[str, Any] = {
            "t": round(sent_at, 6), "id": request.id, "status": status, "ms": round(milliseconds, 3), "server": server
        }  # fmt: skip
        self._trace.append(line if problem is None else {**line, "error": problem})
        if request.label is not None:
            self._pending.append((time.monotonic() + self._options.label_delay_seconds, request))
        self._count(status, server, milliseconds)

    def _count(self, status: int, server: str | None, milliseconds: float) -> None:
        self._counts.sent += 1
        self._counts.statuses[status] += 1
        self._counts.latencies_ms.append(milliseconds)
        if server is not None:
            self._counts.servers[server] += 1

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.stop()

    async def _background(self) -> None:
        """Append labels that are due, and report every few seconds."""
        reported = time.monotonic()
        while True:
            await asyncio.sleep(_NAP_SECONDS / 2)
            now = time.monotonic()
            try:
                self._write_labels(due=now)
            except OSError as error:
                self._fail(error)
                return
            if now - reported >= _REPORT_SECONDS:
                self._report(now - reported)
                reported = now

    def _report(self, seconds: float) -> None:
        print(self._counts.line(seconds, len(self._pending)), flush=True)  # noqa: T201 - the service's log
        self._counts = _Counts()

    def _write_labels(self, *, due: float) -> None:
        while self._pending and self._pending[0][0] <= due:
            request = self._pending[0][1]
            self._labels.append({"id": request.id, "label": request.label, "time": round(time.time(), 6)})
            self._pending.popleft()
            self._counts.labels += 1
