"""Copies of requests with a real Envoy: who gets how many, and that nobody notices."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics
from airflow_mlops.adapters.predictions.tail import AnswerFiles
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.container.inference import build_request
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.rollout.pairing import Pairing
from airflow_mlops.rollout.routing import Sticky
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.testing.gateway import Gateway, ScriptedServer, scripted_server
from airflow_mlops.testing.model_server import start_model_server

pytestmark = pytest.mark.stack

LISTEN, ADMIN, OLD, NEW = 22120, 22121, 22122, 22123


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "gateway", listen_port=LISTEN, admin_port=ADMIN) as gateway:
        router = EnvoyFilesRouter(gateway.directory)
        router.ensure_targets("m", {"m-v1": OLD, "m-v2": NEW}, fencing_token=1)
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
        yield gateway


@pytest.fixture
def router(gateway: Gateway) -> EnvoyFilesRouter:
    return EnvoyFilesRouter(gateway.directory)


class Counted:
    """How many requests a scripted server got."""

    def __init__(self, server: ScriptedServer) -> None:
        self.requests = 0
        decide = server.fails_now

        def count() -> bool:
            self.requests += 1
            return decide()

        server.fails_now = count  # type: ignore[method-assign]


@pytest.fixture
def old() -> Iterator[ScriptedServer]:
    with scripted_server(OLD) as server:
        yield server


@pytest.fixture
def new() -> Iterator[ScriptedServer]:
    with scripted_server(NEW) as server:
        yield server


class Client:
    """Asks the gateway, each time over a connection of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self._address = gateway.url.removeprefix("http://")

    def ask(self, body: Any = None, **headers: str) -> tuple[int, str]:
        """Send one request; return its status and the target that answered."""
        sent = {
            name.replace("_", "-"): value for name, value in {"content_type": "application/json", **headers}.items()
        }
        with closing(http.client.HTTPConnection(self._address, timeout=15)) as connection:
            connection.request("POST", "/v2/models/m/infer", body=json.dumps(body or {}), headers=sent)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("x-model-version", "")


def mirror(router: EnvoyFilesRouter, percent: int) -> None:
    router.set_mirror("m", "m-v2", percent, fencing_token=1, expected_generation=router.observe("m").generation)


def settle(router: EnvoyFilesRouter) -> None:
    """Wait until Envoy has read what was written; it says nothing about that."""
    assert router.verify("m") == "ok"
    time.sleep(0.5)


def asked(gateway: Gateway, count: int) -> Counter[tuple[int, str]]:
    client = Client(gateway)
    return Counter(client.ask() for _ in range(count))


@pytest.mark.parametrize("percent", [30, 100])
def test_as_many_are_copied_as_asked_and_nobody_gets_the_copies_answer(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer, percent: int
) -> None:
    new.error_rate = 1.0
    counted = Counted(new)
    mirror(router, percent)
    settle(router)
    assert asked(gateway, 300) == {(200, "m-v1"): 300}
    time.sleep(0.3)
    share = percent / 100
    assert abs(counted.requests - 300 * share) <= 5 * sqrt(300 * share * (1 - share))
    # Envoy counts copies and their failures like requests: this is how failing copies are seen.
    counters = EnvoyStatistics(gateway.admin_url).read(("m-v1", "m-v2"), slow_ms=None)
    assert (counters["m-v2"].requests, counters["m-v2"].errors) == (counted.requests, counted.requests)
    assert (counters["m-v1"].requests, counters["m-v1"].errors) == (300, 0)


def test_an_ended_mirror_copies_no_more(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    counted = Counted(new)
    mirror(router, 100)
    settle(router)
    asked(gateway, 20)
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    settle(router)
    before = counted.requests
    assert asked(gateway, 100) == {(200, "m-v1"): 100}
    time.sleep(0.2)
    assert before == counted.requests == 20


def test_a_dead_candidate_breaks_no_request_and_its_failures_are_counted(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer
) -> None:
    mirror(router, 100)
    settle(router)
    assert asked(gateway, 200) == {(200, "m-v1"): 200}
    time.sleep(0.5)
    counters = EnvoyStatistics(gateway.admin_url).read(("m-v2",), slow_ms=None)
    assert (counters["m-v2"].requests, counters["m-v2"].errors) == (200, 200)


def test_a_slow_candidate_holds_nobody_up(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    new.delay_seconds = 8.0
    mirror(router, 100)
    settle(router)
    began = time.monotonic()
    assert asked(gateway, 100) == {(200, "m-v1"): 100}
    # All of them together did not wait for the first copy.
    assert time.monotonic() - began < new.delay_seconds


def test_answers_of_real_model_servers_find_each_other(
    gateway: Gateway, router: EnvoyFilesRouter, model_python: Path, small_model: tuple[Path, str], tmp_path: Path
) -> None:
    rows = read_sample(small_model[0]).rows
    spec, home, began = ShadowSpec(), tmp_path / "servers", time.time()
    with ExitStack() as stack:
        servers = [
            start_model_server(model_python, *small_model, port=port, home=home, version=version, model_name="m")
            for version, port in (("1", OLD), ("2", NEW))
        ]
        for server in servers:
            stack.callback(server.stop, signal.SIGKILL)
        for server in servers:
            server.wait_ready()
        mirror(router, 100)
        settle(router)
        client = Client(gateway)
        for number in range(30):
            # Some name themselves, some have the header, the others get it from Envoy.
            name = f"own-{number}" if number % 3 == 0 else None
            headers = {"x_request_id": f"header-{number}"} if number % 3 == 1 else {}
            row = rows[number % len(rows) : number % len(rows) + 1]
            assert client.ask(build_request(row, name), **headers) == (200, "m-v1")
        time.sleep(0.5)
    log = AnswerFiles(home / "predictions", "m", {"candidate": "2", "stable": "1"}, since=began)
    pairing = Pairing(spec)
    counts = pairing.read(log)
    assert (counts.pairs, counts.differing, counts.difference_sum) == (30, 0, 0.0)
    ids = {json.loads(line)["id"] for path in home.rglob("*/2/*.jsonl") for line in path.read_text().splitlines()}
    assert {"own-0", "header-1"} <= ids


def _targets(gateway: Gateway, users: range) -> dict[str, str]:
    client = Client(gateway)
    return {str(user): client.ask(x_user=f"user-{user}")[1] for user in users}


def test_a_header_keeps_a_user_at_one_target_and_growth_moves_users_one_way(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    router.set_sticky("m", Sticky(header="x-user"), fencing_token=1, expected_generation=None)
    users, before = range(300), {str(user): "m-v1" for user in range(300)}
    moved_back = 0
    for percent in (10, 25, 50, 100):
        weights = {"m-v1": 100 - percent, "m-v2": percent}
        router.set_weights("m", weights, fencing_token=1, expected_generation=None)
        settle(router)
        now = _targets(gateway, users)
        share = percent / 100
        at_new = sum(target == "m-v2" for target in now.values())
        assert abs(at_new - len(users) * share) <= 5 * sqrt(len(users) * share * (1 - share)), at_new
        moved_back += sum(before[user] == "m-v2" and now[user] == "m-v1" for user in now)
        print(f"{percent} %: {at_new} of {len(users)} users at m-v2")
        before = now
        if percent == 25:
            client = Client(gateway)
            one = Counter(client.ask(x_user="user-7")[1] for _ in range(200))
            assert one == {now["7"]: 200}
    assert moved_back == 0
    # Going back moves everybody to where they came from.
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    settle(router)
    assert set(_targets(gateway, users).values()) == {"m-v1"}


def test_a_cookie_keeps_its_caller(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    router.set_sticky("m", Sticky(cookie="session"), fencing_token=1, expected_generation=None)
    router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=None)
    settle(router)
    client, seen = Client(gateway), Counter[str]()
    for user in range(60):
        (target,) = {client.ask(cookie=f"theme=dark; session=s{user}; lang=de") for _ in range(4)}
        seen[target[1]] += 1
    assert min(seen["m-v1"], seen["m-v2"]) > 10
    # Whoever has none goes by chance.
    assert len(asked(gateway, 60)) == 2
