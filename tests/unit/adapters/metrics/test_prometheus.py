"""What is made of a Prometheus server's answers, and of answers that say nothing."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest

from airflow_mlops.adapters.metrics.prometheus import Access, PrometheusMetrics
from airflow_mlops.adapters.metrics.series import TEMPLATES, Named, SeriesTemplate
from airflow_mlops.exceptions import (
    ContractError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.rollout.observation import ArmCounters, since
from airflow_mlops.testing.rollout import ManualClock

START = 3600.0 * 240


class Server(http.server.ThreadingHTTPServer):
    """Answers every query with the same: a status and a body, or series to be cut to the span that is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answer: tuple[int, str] | None = None
        self.series: list[tuple[Mapping[str, str], list[tuple[float, float]]]] = []
        self.queries: list[str] = []
        self.headers: list[str | None] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def reply(self, query: str, at: float) -> str:
        result: list[Any] = []
        for labels, samples in self.series:
            past = [[moment, str(value)] for moment, value in samples if moment <= at]
            if query.startswith("last_over_time"):
                result += [{"metric": labels, "value": past[-1]}] if past else []
                continue
            if query.startswith("count by"):
                result += [{"metric": {"le": labels["le"]}, "value": [at, "1"]}] if "le" in labels else []
                continue
            span = int(query.rpartition("[")[2].removesuffix("ms]")) / 1000
            recent = [one for one in past if one[0] >= at - span]
            result += [{"metric": labels, "values": recent}] if recent else []
        return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        server.queries.append(form["query"][0])
        server.headers.append(self.headers.get("authorization"))
        status, body = server.answer or (200, server.reply(form["query"][0], float(form["time"][0])))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START + 100)


Open = Callable[..., PrometheusMetrics]


@pytest.fixture
def metrics(server: Server, clock: ManualClock) -> Open:
    def open_it(template: SeriesTemplate = TEMPLATES["envoy"], **access: Any) -> PrometheusMetrics:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        return PrometheusMetrics(Access(url=url, name="Prometheus", **access), template, clock=clock)

    return open_it


def envoy(metric: str, target: str = "m-v1", instance: str = "a", **labels: str) -> dict[str, str]:
    name = f"envoy_cluster_upstream_rq_{metric}"
    return {"__name__": name, "envoy_cluster_name": target, "instance": instance, **labels}


def test_requests_errors_and_slow_answers_of_several_proxies(server: Server, metrics: Open) -> None:
    before, now = START - 10, START + 90
    for instance in ("a", "b"):
        server.series += [
            (envoy("completed", instance=instance), [(before, 1000), (now, 1050)]),
            (envoy("xx", instance=instance, envoy_response_code_class="2"), [(before, 990), (now, 1032)]),
            (envoy("xx", instance=instance, envoy_response_code_class="5"), [(now, 8)]),
            (envoy("timeout", instance=instance), [(before, 3), (now, 5)]),
            (envoy("time_count", instance=instance), [(before, 900), (now, 948)]),
            (envoy("time_bucket", instance=instance, le="250"), [(before, 880), (now, 920)]),
        ]
    found = metrics().read(["m-v1", "m-v2"], slow_ms=250)
    # Two requests timed out in each: they have no duration, and were slow.
    life = f"Prometheus from {START:.0f}"
    assert found == {
        "m-v1": ArmCounters(requests=100, errors=16, timed=100, slow=20, at=START + 100, life=life),
    }


def test_one_look_is_one_request_and_the_first_one_two(server: Server, metrics: Open, clock: ManualClock) -> None:
    server.series = [(envoy("completed"), [(START + second, second) for second in range(0, 1000, 15)])]
    source = metrics()
    seen = []
    for _ in range(4):
        seen.append(source.read(["m-v1"], slow_ms=None)["m-v1"].requests)
        clock.advance(60)
    assert seen == [90, 150, 210, 270]
    assert len(server.queries) == 5
    assert server.queries[-1].endswith("[120000ms]")


def test_at_the_end_of_a_span_counters_begin_again_and_nothing_counts_twice(
    server: Server, metrics: Open, clock: ManualClock
) -> None:
    clock.time = START - 30
    samples = [(moment, moment - START + 1000) for moment in (START + shift for shift in range(-300, 300, 15))]
    server.series = [(envoy("completed"), samples)]
    source = metrics()
    before = source.read(["m-v1"], slow_ms=None)["m-v1"]
    clock.advance(60)
    after = source.read(["m-v1"], slow_ms=None)["m-v1"]
    assert before.life != after.life
    # The samples of the first 30 s after it; those of the 30 s before it are lost.
    assert since(before, after).requests == 30


def test_a_pod_that_starts_again_takes_nothing_away(server: Server, metrics: Open, clock: ManualClock) -> None:
    server.series = [
        (envoy("completed", instance="a"), [(START + 15, 5000), (START + 95, 5000), (START + 140, 10)]),
        (envoy("completed", instance="b"), [(START + 15, 100), (START + 95, 100), (START + 140, 120)]),
    ]
    source = metrics()
    before = source.read(["m-v1"], slow_ms=None)["m-v1"]
    clock.advance(50)
    assert since(before, source.read(["m-v1"], slow_ms=None)["m-v1"]).requests == 30
    assert since(before, metrics().read(["m-v1"], slow_ms=None)["m-v1"]).requests == 30


def test_old_samples_tell_nothing_about_now(server: Server, metrics: Open, clock: ManualClock) -> None:
    server.series = [(envoy("completed"), [(START + 60, 5), (START + 75, 6)])]
    source = metrics()
    assert source.read(["m-v1"], slow_ms=None)["m-v1"].requests == 1
    clock.advance(60)
    message = r"Prometheus: the last sample of m-v1 is 85 s old; what is older than 60 s tells nothing about now"
    for late in (source, metrics()):
        with pytest.raises(TransientAdapterError, match=message):
            late.read(["m-v1"], slow_ms=None)


def test_a_target_without_series_is_missing_and_not_zero(server: Server, metrics: Open) -> None:
    assert metrics().read(["m-v1"], slow_ms=None) == {}


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((503, "upstream connect error"), TransientAdapterError, "Prometheus: status 503"),
        ((200, "<html>"), ContractError, "none of Prometheus'"),
        ((200, '{"status": "success", "data": {}}'), ContractError, "none of Prometheus'"),
        (
            (200, '{"status": "success", "warnings": ["store a is down"], "data": {"result": []}}'),
            TransientAdapterError,
            "answers in part only: store a is down",
        ),
        (
            (422, '{"status": "error", "errorType": "execution", "error": "query timed out"}'),
            TransientAdapterError,
            "has no answer: execution: query timed out",
        ),
        (
            (400, '{"status": "error", "errorType": "bad_data", "error": "parse error"}'),
            PermanentAdapterError,
            "refuses the query: bad_data: parse error",
        ),
        ((401, "who are you"), PermanentAdapterError, "refuses who asks: status 401"),
    ],
)
def test_what_is_no_answer_is_no_count(
    server: Server, metrics: Open, answer: tuple[int, str], error: type[Exception], message: str
) -> None:
    server.answer = answer
    with pytest.raises(error, match=message):
        metrics().read(["m-v1"], slow_ms=None)


def test_a_value_that_is_no_number_is_no_count(server: Server, metrics: Open) -> None:
    server.series = [(envoy("completed"), [(START + 95, float("nan"))])]
    with pytest.raises(TransientAdapterError, match="envoy_cluster_upstream_rq_completed is nan, no count"):
        metrics().read(["m-v1"], slow_ms=None)


def test_an_edge_that_the_histogram_has_not_is_refused_with_those_it_has(server: Server, metrics: Open) -> None:
    server.series = [
        (envoy("completed"), [(START + 95, 1)]),
        (envoy("time_count"), [(START + 95, 1)]),
        (envoy("time_bucket", le="250"), [(START + 95, 1)]),
        (envoy("time_bucket", le="+Inf"), [(START + 95, 1)]),
    ]
    with pytest.raises(SpecificationError, match=r"slow_ms: 100 .* an edge that the histogram has: 250, inf"):
        metrics().read(["m-v1"], slow_ms=100)


def test_a_server_that_is_not_there_may_come_back(clock: ManualClock, free_port: int) -> None:
    source = PrometheusMetrics(Access(url=f"http://127.0.0.1:{free_port}", name="P"), TEMPLATES["envoy"], clock=clock)
    with pytest.raises(TransientAdapterError, match="P does not answer: ConnectError"):
        source.read(["m-v1"], slow_ms=None)
    with pytest.raises(SpecificationError, match="tallies: 'labels' is not accepted; expected none from Prometheus"):
        source.read(["m-v1"], slow_ms=None, tallies=["labels"])


@pytest.mark.parametrize(("login", "header"), [(None, "Bearer s3cret"), ("ada", "Basic YWRhOnMzY3JldA==")])
def test_who_asks_is_told_and_shown_nowhere(
    server: Server, metrics: Open, login: str | None, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = metrics(login=login, password="s3cret")
    with caplog.at_level(logging.DEBUG):
        source.read(["m-v1"], slow_ms=None)
        server.answer = (403, "s3cret is wrong")
        with pytest.raises(PermanentAdapterError) as caught:
            source.read(["m-v1"], slow_ms=None)
    assert server.headers[0] == header
    secrets = ("s3cret", header.split()[1])
    assert not any(secret in text for secret in secrets for text in (caplog.text, str(caught.value), repr(source)))
    assert "s3cret" not in repr(Access(url="http://p", name="P", password="s3cret"))


def test_istio_counts_by_workload_and_the_model_server_by_version() -> None:
    istio, server = TEMPLATES["istio"], TEMPLATES["model_server"]
    assert istio.selector(["m-v1"], 100) == (
        '{__name__=~"istio_request_duration_milliseconds_bucket|istio_request_duration_milliseconds_count'
        '|istio_requests_total", destination_workload=~"m\\\\-v1", reporter="destination", le=~"|100|100\\\\.0"}'
    )
    failed = {"__name__": "istio_requests_total", "response_code": "503"}
    assert istio.roles(failed, None) == ("requests", "errors")
    assert istio.roles({**failed, "response_code": "404"}, None) == ("requests",)
    assert server.values_of("late-flights-v12") == {"model": "late-flights", "version": "12"}
    assert server.roles({"__name__": "mlops_model_request_seconds_bucket", "le": "0.025"}, 25) == ("fast",)
    assert server.roles({"__name__": "mlops_model_request_seconds_count"}, 25) == ("requests", "timed")
    assert server.roles({"__name__": "mlops_model_errors_total", "kind": "bad_request"}, 25) == ()
    with pytest.raises(SpecificationError, match="<model>-v<version>"):
        server.values_of("late")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": {"service": "always"}}, r"target: .* labels with \{target\}"),
        ({"target": {"service": "{name}"}}, r"target: .* labels with \{target\}"),
        ({"target": {"a-b": "{target}"}}, "labels: 'a-b' .* letters, digits and _"),
    ],
)
def test_templates_that_name_no_target_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        SeriesTemplate(**{"requests": Named(metric="a"), "errors": Named(metric="b"), **fields})
    with pytest.raises(SpecificationError, match=r"labels\['x'\]: '\(' .* a regular expression"):
        Named(metric="a", labels={"x": "("})
    with pytest.raises(SpecificationError, match="metric: 'sum\\(x\\)' is not accepted"):
        Named(metric="sum(x)")
