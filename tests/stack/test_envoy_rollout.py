"""The gateway with a real Envoy: splits, changes under traffic, counters, crashes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.metrics.access_log import AccessLogTallies
from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter, write_bootstrap
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.clock import SystemClock
from airflow_mlops.rollout import look
from airflow_mlops.rollout.observation import ArmCounters, Tally, began_again, since
from airflow_mlops.rollout.routing import Match, Sticky
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.testing.gateway import Gateway, ScriptedServer, Traffic, scripted_server

pytestmark = pytest.mark.stack

LISTEN, ADMIN, OLD, NEW = 22020, 22021, 22022, 22023


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "gateway", listen_port=LISTEN, admin_port=ADMIN) as gateway:
        yield gateway


@pytest.fixture
def router(gateway: Gateway) -> EnvoyFilesRouter:
    return EnvoyFilesRouter(gateway.directory)


@pytest.fixture
def old() -> Iterator[ScriptedServer]:
    with scripted_server(OLD) as server:
        yield server


@pytest.fixture
def new() -> Iterator[ScriptedServer]:
    with scripted_server(NEW, seed=3) as server:
        yield server


def split(router: EnvoyFilesRouter, new_percent: int, *, token: int = 1) -> None:
    weights = {"m-v1": 100 - new_percent, "m-v2": new_percent}
    router.ensure_targets("m", {"m-v1": OLD, "m-v2": NEW}, fencing_token=token)
    router.set_weights("m", weights, fencing_token=token, expected_generation=None)


def until(what: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait until something holds; return after how long."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if what():
            return time.monotonic() - started
        time.sleep(0.01)
    pytest.fail(f"did not happen within {seconds} s")


def within_chance(share: int, total: int, weight: float) -> bool:
    """Five standard deviations: wrong once in a million runs."""
    return abs(share - total * weight) <= 5 * sqrt(total * weight * (1 - weight))


@pytest.mark.parametrize("weight", [10, 50])
def test_weights_are_honoured(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer, weight: int
) -> None:
    split(router, weight)
    until(lambda: gateway.ask("m")[0] == 200)
    with Traffic(gateway, "m", rate=400) as traffic:
        time.sleep(2.5)
    targets = traffic.targets()
    assert targets.keys() == {"m-v1", "m-v2"}
    assert within_chance(targets["m-v2"], len(traffic.answers), weight / 100), targets


def test_routes_without_traffic_or_name_say_so(gateway: Gateway, router: EnvoyFilesRouter) -> None:
    assert gateway.ask("m")[0] == 404
    router.ensure_targets("m", {"m-v1": OLD}, fencing_token=1)
    until(lambda: gateway.ask("m")[0] == 503)


def test_new_weights_are_in_effect_within_a_second_and_break_no_request(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    router.ensure_targets("m", {"m-v1": OLD}, fencing_token=1)
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=1)
    until(lambda: gateway.ask("m")[0] == 200)
    delays = []
    with Traffic(gateway, "m", rate=200) as traffic:
        for round_number in range(5):
            split(router, 100)
            delays.append(until(lambda: traffic.answers[-1][2] == "m-v2", 3.0))
            router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
            delays.append(until(lambda: traffic.answers[-1][2] == "m-v1", 3.0))
            if round_number % 2:
                router.remove_target("m", "m-v2")
        time.sleep(0.3)
    print("weights in effect after", [f"{delay * 1000:.0f} ms" for delay in delays])
    assert max(delays) < 1.0, delays
    statuses = {status for _, status, _ in traffic.answers}
    assert statuses == {200}


def test_a_running_request_outlives_the_removal_of_its_target(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    new.delay_seconds = 2.0
    split(router, 100)
    until(lambda: router.verify("m") == "ok")
    time.sleep(0.3)
    with Traffic(gateway, "m", rate=20, workers=2) as traffic:
        time.sleep(0.5)  # two requests are being answered now
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
        router.remove_target("m", "m-v2")
        until(lambda: len(traffic.answers) > 4)
    assert {status for _, status, _ in traffic.answers} == {200}
    assert traffic.targets()["m-v2"] == 2


def test_counters_tell_requests_errors_and_slow_answers_per_target(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    new.error_rate, new.delay_seconds = 1.0, 0.15
    split(router, 50)
    until(lambda: gateway.ask("m")[1] == "m-v1")
    metrics = EnvoyStatistics(gateway.admin_url)
    time.sleep(1.2)  # histograms are flushed twice a second, the request above has to be in them
    before = metrics.read(["m-v1", "m-v2"], slow_ms=100)
    asked = [gateway.ask("m") for _ in range(60)]
    time.sleep(1.2)
    after = metrics.read(["m-v1", "m-v2", "m-v9"], slow_ms=100)
    assert after.keys() == {"m-v1", "m-v2"}
    for name in ("m-v1", "m-v2"):
        answers = [status for status, target in asked if target == name]
        assert after[name].requests - before[name].requests == len(answers)
        assert after[name].timed - before[name].timed == len(answers)
    failed = sum(status == 500 for status, _ in asked)
    assert after["m-v2"].errors - before["m-v2"].errors == failed > 0
    assert after["m-v2"].slow - before["m-v2"].slow == failed
    assert after["m-v1"].errors == 0


def test_a_crashed_model_server_counts_as_errors_of_its_target(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer
) -> None:
    split(router, 50)  # nobody listens at the new port
    until(lambda: gateway.ask("m")[1] == "m-v1")
    for _ in range(40):
        gateway.ask("m")
    counters = EnvoyStatistics(gateway.admin_url).read(["m-v1", "m-v2"], slow_ms=None)
    assert counters["m-v2"].errors == counters["m-v2"].requests > 5
    assert counters["m-v1"].errors == 0


def ports(gateway: Gateway) -> look.Gateway:
    return look.Gateway(
        router=EnvoyFilesRouter(gateway.directory),
        store=FileRolloutStore(gateway.directory),
        metrics=EnvoyStatistics(gateway.admin_url),
        clock=SystemClock(),
    )


def drive(moves: look.Gateway, token: int, *, seconds: float, until_step: int | None = None) -> Any:
    """Look and apply until the rollout ends, a step is reached or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.2)
        state, plan = moves.look("m", token=token)
        if plan.has_effects:
            moves.apply(state, token=token)
        if state.finished or state.step_index == until_step:
            return state
    pytest.fail(f"nothing was decided in {seconds} s: {moves.held('m', token=token)}")


SPEC = RolloutSpec(
    steps=(
        CanaryStep(weight_percent=20, min_seconds=1, min_requests=60),
        CanaryStep(weight_percent=50, min_seconds=3, min_requests=60),
    ),
    error_rate=ErrorRateCheck(max_increase=0.06),
    look_seconds=0.2,
    step_timeout_seconds=30,
    max_unknown_seconds=10,
)


def test_a_killed_envoy_comes_back_with_its_routes_and_the_rollout_goes_on(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    router.ensure_targets("m", {"m-v1": OLD, "m-v2": NEW}, fencing_token=0)
    moves = ports(gateway)
    token = moves.store.acquire("m", "test", lease_seconds=60).token
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=time.time())
    moves.store.save("m", state, token=token, renew=True)
    moves.apply(state, token=token)
    with Traffic(gateway, "m", rate=200) as traffic:
        drive(moves, token, seconds=15, until_step=1)
        moves.look("m", token=token)  # counting begins
        time.sleep(1.0)
        before = moves.look("m", token=token)[0].canary.requests
        gateway.kill()
        _, plan = moves.look("m", token=token)
        assert (plan.action, plan.verdict.value) == ("hold", "error")
        assert "cannot be read" in plan.reason
        gateway.start()
        restarted = time.time()
        state = drive(moves, token, seconds=20)
        time.sleep(0.5)
    assert before > 0
    assert state.phase == "promoted"
    assert state.history[-1].at > restarted
    assert traffic.targets(after=time.time() - 0.2).keys() == {"m-v2"}


def test_counters_that_grew_past_their_old_values_after_a_crash_are_told_apart(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    split(router, 50)
    until(lambda: gateway.ask("m")[0] == 200)
    metrics = EnvoyStatistics(gateway.admin_url)

    def read() -> dict[str, ArmCounters]:
        time.sleep(1.2)
        return dict(metrics.read(["m-v1", "m-v2"], slow_ms=100))

    before = read()
    # Neither a change of targets nor a start of the stack that finds everything running is a start of Envoy.
    router.ensure_targets("m", {"m-v3": NEW}, fencing_token=1)
    write_bootstrap(gateway.directory, listen_port=LISTEN, admin_port=ADMIN)
    asked = [gateway.ask("m") for _ in range(10)]
    calm = read()
    for name in before:
        assert before[name].life == calm[name].life != ""
        assert since(before[name], calm[name]).requests == sum(target == name for _, target in asked)
    gateway.kill()
    gateway.start()
    asked = []
    until(lambda: asked.append(gateway.ask("m")) or asked[-1][0] == 200)  # type: ignore[func-returns-value]
    asked += [gateway.ask("m") for _ in range(60)]
    after = read()
    for name in before:
        assert after[name].requests > calm[name].requests
        assert began_again(calm[name], after[name])
        assert since(calm[name], after[name]).requests == sum(target == name for _, target in asked)


@pytest.mark.parametrize("key", [Sticky(header="x-user"), Sticky(cookie="uid")], ids=["header", "cookie"])
def test_users_with_an_error_are_counted_out_of_the_access_log(
    tmp_path: Path, old: ScriptedServer, new: ScriptedServer, key: Sticky
) -> None:
    new.error_rate = 0.3

    def headers(user: str) -> dict[str, str]:
        return {"x-user": user} if key.header else {"cookie": f"theme=dark; uid={user}; lang=en"}

    with Gateway(tmp_path / "gateway", listen_port=LISTEN, admin_port=ADMIN, users=key) as gateway:
        split(EnvoyFilesRouter(gateway.directory), 50)
        until(lambda: gateway.ask("m")[0] == 200)
        asked = [(f"u{n % 12}", *gateway.ask("m", headers(f"u{n % 12}"))) for n in range(120)]
        gateway.ask("m", {"cookie": "theme=dark"})
        users = AccessLogTallies(gateway.directory / "access", period_seconds=1e9)
        until(lambda: sum(one["users"].total for one in users.read(["m-v1", "m-v2"], ["users"]).values()) >= 20)
        time.sleep(0.7)
        found = users.read(["m-v1", "m-v2", "m-v3"], ["users"])
    assert found.keys() == {"m-v1", "m-v2", "m-v3"}
    for name in found:
        met = {user for user, _, target in asked if target == name}
        failed = {user for user, status, target in asked if target == name and status == 500}
        assert found[name] == {"users": Tally(len(met), len(failed))}
    assert found["m-v2"]["users"].hits > 0


def test_testers_reach_a_target_without_traffic_and_are_not_counted(
    gateway: Gateway, router: EnvoyFilesRouter, old: ScriptedServer, new: ScriptedServer
) -> None:
    split(router, 0)
    match = Match(target="m-v2", headers={"x-tester": "yes", "x-team": "flights"})
    router.set_match("m", match, fencing_token=1, expected_generation=None)
    tester = dict(match.headers)
    until(lambda: gateway.ask("m", tester) == (200, "m-v2"))
    counters = EnvoyStatistics(gateway.admin_url)
    before = counters.read(["m-v1", "m-v2"], slow_ms=None)
    with Traffic(gateway, "m", rate=50) as traffic:
        asked = Counter(gateway.ask("m", tester) for _ in range(50))
        halves = Counter(gateway.ask("m", {"x-tester": "yes"}) for _ in range(20))
    assert (asked, halves) == ({(200, "m-v2"): 50}, {(200, "m-v1"): 20})
    assert set(traffic.targets()) == {"m-v1"}
    after = counters.read(["m-v1", "m-v2"], slow_ms=None)
    assert after["m-v2"].requests == before["m-v2"].requests
    assert after["m-v1"].requests - before["m-v1"].requests == len(traffic.answers) + 20

    with Traffic(gateway, "m", rate=50) as traffic:
        split(router, 100)
        until(lambda: gateway.ask("m", tester) == (200, "m-v2") == gateway.ask("m"))
    assert router.observe("m").match is None
    assert {status for _, status, _ in traffic.answers} == {200}
