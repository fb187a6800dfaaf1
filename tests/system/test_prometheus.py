"""Counters out of a real Prometheus server that scrapes what a test shows it, and a real Envoy."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from airflow_mlops.adapters.metrics.prometheus import Access, PrometheusMetrics
from airflow_mlops.adapters.metrics.series import TEMPLATES
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.container.lines import LineFile
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.rollout.checks import ErrorRateCheck, LabelCheck, PredictionCheck
from airflow_mlops.rollout.observation import ArmCounters, Counts, since
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.testing.gateway import Gateway, Traffic, scripted_server
from tests.airflow.conftest import connection  # noqa: F401 - a fixture
from tests.prometheus import SCRAPE_SECONDS, Exporter, exporter, prometheus_server

pytestmark = pytest.mark.system

LISTEN, ADMIN, OLD, NEW = 22030, 22031, 22032, 22033


def metrics(url: str, template: str, **access: str) -> PrometheusMetrics:
    access_to = Access(url=url, name="P", **access)
    # A busy machine may miss some scrapes.
    return PrometheusMetrics(access_to, TEMPLATES[template], scrape_seconds=SCRAPE_SECONDS, missed_scrapes=5)


# Prometheus takes five seconds until its first scrape, so the tests share one; each has targets of its own.
@pytest.fixture(scope="module")
def pods() -> Iterator[tuple[Exporter, Exporter]]:
    with exporter() as first, exporter() as second:
        yield first, second


@pytest.fixture(scope="module")
def server(pods: tuple[Exporter, Exporter], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus_server(tmp_path_factory.mktemp("prometheus"), [pod.address for pod in pods]) as url:
        yield url


def istio(target: str, **by_code: int) -> str:
    """Return what a sidecar exports: answers by status, half of them within 100 ms."""
    labels = f'reporter="destination",destination_workload="{target}"'
    lines = [f'istio_requests_total{{{labels},response_code="{code[1:]}"}} {count}' for code, count in by_code.items()]
    total = sum(by_code.values())
    duration = "istio_request_duration_milliseconds"
    lines += [
        f'{duration}_bucket{{{labels},le="100"}} {total // 2}',
        f'{duration}_bucket{{{labels},le="+Inf"}} {total}',
        f"{duration}_count{{{labels}}} {total}",
    ]
    return "\n".join(lines) + "\n"


def model_server(version: str, *, answered: int, fast: int, **errors: int) -> str:
    labels = f'model="n",version="{version}"'
    lines = [f'mlops_model_errors_total{{{labels},kind="{kind}"}} {count}' for kind, count in errors.items()]
    lines += [
        f'mlops_model_request_seconds_bucket{{{labels},le="1.0"}} {fast}',
        f'mlops_model_request_seconds_bucket{{{labels},le="+Inf"}} {answered}',
        f"mlops_model_request_seconds_count{{{labels}}} {answered}",
    ]
    return "\n".join(lines) + "\n"


def test_pods_come_start_again_and_go_and_every_request_counts_once(
    pods: tuple[Exporter, Exporter], server: str
) -> None:
    first, second = pods
    old, steady = istio("m-v1", _200=9000, _503=90), metrics(server, "istio")
    # Longer than what appears at first may have been there before.
    first.show(old + istio("m-v2", _200=100), scrapes=9)

    def look() -> tuple[ArmCounters, ArmCounters]:
        """Look by a source that looked before and by a new one, which have to agree."""
        found = steady.read(["m-v1", "m-v2"], slow_ms=100)
        fresh = metrics(server, "istio").read(["m-v1", "m-v2"], slow_ms=100)
        assert [since(found[name], fresh[name]) for name in found] == [Counts(), Counts()]
        return found["m-v1"], found["m-v2"]

    before_old, before = look()
    # The first error of a process, and a new process, began at zero.
    first.show(old + istio("m-v2", _200=110, _503=4))
    second.show(istio("m-v2", _200=6))
    _, now = look()
    assert since(before, now) == Counts(requests=20, errors=4, timed=20, slow=10)
    # One of two starts again: the sum over both falls.
    first.show(old + istio("m-v2", _200=10, _503=2))
    _, later = look()
    assert since(now, later) == Counts(requests=12, errors=2, timed=12, slow=6)
    # One goes, the other works on.
    second.show(None)
    first.show(old + istio("m-v2", _200=12, _503=2))
    now_old, last = look()
    assert since(later, last) == Counts(requests=2, errors=0, timed=2, slow=1)
    assert since(before_old, now_old) == Counts()


def test_the_model_servers_own_metrics(pods: tuple[Exporter, Exporter], server: str) -> None:
    first, second = pods
    first.show(model_server("1", answered=10, fast=10, fault=0, bad_request=0))
    second.show(model_server("2", answered=10, fast=9, fault=1, bad_request=0))
    source = metrics(server, "model_server")
    before = source.read(["n-v1", "n-v2", "n-v3"], slow_ms=1000)
    assert before.keys() == {"n-v1", "n-v2"}
    second.show(model_server("2", answered=30, fast=24, fault=3, bad_request=7))
    after = source.read(["n-v1", "n-v2"], slow_ms=1000)
    assert since(before["n-v2"], after["n-v2"]) == Counts(requests=20, errors=2, timed=20, slow=5)
    assert since(before["n-v1"], after["n-v1"]) == Counts()


def test_a_target_that_is_scraped_no_more_becomes_unknown(pods: tuple[Exporter, Exporter], server: str) -> None:
    first, second = pods
    first.show(istio("k-v1", _200=10))
    second.show(istio("k-v2", _200=10))
    source = metrics(server, "istio")
    assert source.read(["k-v1", "k-v2"], slow_ms=None).keys() == {"k-v1", "k-v2"}
    second.show(None, scrapes=10)
    with pytest.raises(TransientAdapterError, match=r"the last sample of k-v2 is [0-9]+ s old"):
        source.read(["k-v1", "k-v2"], slow_ms=None)


def test_only_who_may_ask_is_answered(tmp_path: Path) -> None:
    with prometheus_server(tmp_path, [], user="ada") as url:
        assert metrics(url, "istio", login="ada", password="open sesame").read(["m-v1"], slow_ms=None) == {}
        for access in ({}, {"login": "ada", "password": "guess"}, {"password": "guess"}):
            with pytest.raises(PermanentAdapterError, match=r"P refuses who asks: status 401$"):
                metrics(url, "istio", **access).read(["m-v1"], slow_ms=None)


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_envoy_is_counted_across_its_own_death(tmp_path: Path) -> None:
    router = EnvoyFilesRouter(tmp_path / "gateway")
    with (
        scripted_server(OLD),
        scripted_server(NEW, error_rate=1.0),
        Gateway(tmp_path / "gateway", listen_port=LISTEN, admin_port=ADMIN) as gateway,
        prometheus_server(tmp_path, [f"127.0.0.1:{ADMIN}"], path="/stats/prometheus") as url,
    ):
        router.ensure_targets("m", {"m-v1": OLD, "m-v2": NEW}, fencing_token=1)
        router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=None)
        until(lambda: gateway.ask("m")[0] in (200, 500))
        source = metrics(url, "envoy")
        until(lambda: len(source.read(["m-v1", "m-v2"], slow_ms=250)) == 2)
        time.sleep(2)
        before = source.read(["m-v1", "m-v2"], slow_ms=250)
        asked = [gateway.ask("m") for _ in range(60)]
        time.sleep(2)
        gateway.kill()
        gateway.start()
        until(lambda: gateway.ask("m")[0] in (200, 500))
        again = [gateway.ask("m") for _ in range(20)]
        time.sleep(2)
        after = source.read(["m-v1", "m-v2"], slow_ms=250)
        fresh = metrics(url, "envoy").read(["m-v1", "m-v2"], slow_ms=250)
    counts = {name: since(before[name], after[name]) for name in before}
    assert counts == {name: since(before[name], fresh[name]) for name in before}
    # One request found out that Envoy was there again; which target it went to is not known.
    expected = sum(target == "m-v2" for _, target in (*asked, *again))
    assert counts["m-v1"].requests + counts["m-v2"].requests == len(asked) + len(again) + 1
    assert expected <= counts["m-v2"].requests <= expected + 1
    assert counts["m-v2"].errors == counts["m-v2"].timed == counts["m-v2"].requests
    assert counts["m-v1"].errors == counts["m-v1"].slow == counts["m-v2"].slow == 0


class Answers:
    """Logs a prediction for every answer of a gateway, and a label for it half a second later.

    :param wrong: share of wrong predictions by target
    """

    def __init__(self, home: Path, wrong: dict[str, float]) -> None:
        self._wrong = wrong
        self._dice = random.Random(7)
        self._due: list[tuple[float, str, int]] = []
        self._logs = {
            target: LineFile(home / "predictions" / "m" / target.rpartition("-v")[2] / "a.jsonl") for target in wrong
        }
        self._labels = LineFile(home / "labels" / "m" / "labels.jsonl")
        self._seen = 0

    def write(self, answers: Sequence[tuple[float, int, str]]) -> None:
        for position, (at, _, target) in enumerate(answers[self._seen :], start=self._seen):
            label, wrong = self._dice.randrange(2), self._dice.random() < self._wrong[target]
            prediction = 0.8 if bool(label) != wrong else 0.2
            self._logs[target].append({"id": f"r{position}", "time": at, "prediction": prediction})
            self._due.append((at + 0.5, f"r{position}", label))
        self._seen = len(answers)
        now = time.time()
        for at, identifier, label in (one for one in self._due if one[0] <= now):
            self._labels.append({"id": identifier, "label": label, "time": at})
        self._due = [one for one in self._due if one[0] > now]

    def close(self) -> None:
        for file in (*self._logs.values(), self._labels):
            file.close()


@pytest.mark.parametrize(("wrong", "phase"), [(0.1, "promoted"), (0.45, "rolled_back")])
def test_a_rollout_is_judged_by_prometheus_predictions_and_labels(
    tmp_path: Path,
    connection: Callable[..., None],  # noqa: F811
    wrong: float,
    phase: str,
) -> None:
    spec = RolloutSpec(
        steps=(CanaryStep(weight_percent=50, min_seconds=1, min_requests=100, judge_labels=True),),
        error_rate=ErrorRateCheck(max_increase=0.1),
        labels=LabelCheck(age_seconds=1.0, max_increase=0.15),
        predictions=PredictionCheck(edges=(0.5,), max_difference=0.2),
        look_seconds=0.3,
        step_timeout_seconds=40,
        max_unknown_seconds=15,
    )
    predictions = str(tmp_path / "predictions")
    with (
        scripted_server(OLD),
        scripted_server(NEW),
        Gateway(tmp_path / "gateway", listen_port=LISTEN, admin_port=ADMIN) as envoy,
        prometheus_server(tmp_path, [f"127.0.0.1:{ADMIN}"], path="/stats/prometheus") as url,
        closing(Answers(tmp_path, {"m-v1": 0.1, "m-v2": wrong})) as answers,
    ):
        connection("prometheus_default", conn_type="http", host=url)
        tallies = [
            {"source": "prediction_log", "predictions": predictions},
            {
                "source": "labels_files",
                "predictions": predictions,
                "labels": str(tmp_path / "labels"),
                "age_seconds": 1.0,
                "settle_seconds": 0.5,
            },
        ]
        extra = {
            "admin_url": envoy.admin_url,
            "directory": str(envoy.directory),
            "metrics": {"source": "prometheus", "scrape_seconds": SCRAPE_SECONDS, "tallies": tallies},
        }
        connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", port=LISTEN, extra=extra)
        gateway = ModelGatewayHook().gateway()
        lease = gateway.store.acquire("m", "test", lease_seconds=60)
        gateway.router.ensure_targets("m", {"m-v1": OLD, "m-v2": NEW}, fencing_token=lease.token)
        state = begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=time.time())
        gateway.store.save("m", state, token=lease.token, renew=True)
        gateway.apply(state, token=lease.token)
        until(lambda: envoy.ask("m")[0] == 200)
        with Traffic(envoy, "m", rate=150) as traffic:
            deadline = time.monotonic() + 60
            while not state.finished and time.monotonic() < deadline:
                time.sleep(0.3)
                answers.write(traffic.answers)
                state, plan = gateway.look("m", token=lease.token)
                if plan.has_effects:
                    gateway.apply(state, token=lease.token)
    assert (state.phase, state.canary.tally("labelled").total >= 0) == (phase, True), state.reason
    assert "labels" in state.reason or "label" in state.reason, state.reason
