from __future__ import annotations

import pytest

from airflow_mlops.local import plan
from airflow_mlops.local.plan import Action, Observed, Wanted, decide, phase

NOW = 1000.0


def wanted(name: str = "mlflow", **changes: object) -> Wanted:
    return Wanted(**({"name": name, "revision": "r1"} | changes))  # type: ignore[arg-type]


def running(name: str = "mlflow", **changes: object) -> Observed:
    return Observed(**({"name": name, "revision": "r1", "pid": 7, "started_at": NOW - 5} | changes))  # type: ignore[arg-type]


def kinds(actions: tuple[Action, ...]) -> list[tuple[str, str]]:
    return [(action.name, action.kind) for action in actions]


def only(item: Wanted | None, seen: Observed | None, now: float = NOW) -> str | None:
    desired = {item.name: item} if item else {}
    observed = {seen.name: seen} if seen else {}
    actions = decide(desired, observed, now)
    return actions[0].kind if actions else None


def test_what_is_wanted_and_does_not_run_is_started() -> None:
    assert only(wanted(), None) == "start"


def test_what_runs_as_wanted_is_left_alone() -> None:
    assert only(wanted(), running(healthy_since=NOW - 1)) is None


def test_what_is_not_wanted_is_asked_to_stop_and_killed_after_its_grace() -> None:
    assert only(None, running()) == "terminate"
    assert only(None, running(stop_at=NOW - 9)) is None
    assert only(None, running(stop_at=NOW - 10)) == "kill"
    assert only(None, Observed(name="mlflow", exited_at=NOW)) == "forget"


def test_a_changed_revision_replaces_the_process_without_counting_as_a_crash() -> None:
    changed = wanted(revision="r2")
    seen = running(healthy_since=NOW - 1)
    assert only(changed, seen) == "terminate"
    seen = plan.asked_to_stop(seen, reason="", now=NOW)
    seen = plan.exited(seen, code=0, once=False, now=NOW + 1)
    assert (seen.crashed, seen.failures) == (False, 0)
    assert only(changed, seen, NOW + 1) == "start"


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 10.0), (500, 10.0)]
)
def test_a_crash_is_followed_by_a_start_after_a_growing_delay(failures: int, delay: float) -> None:
    seen = Observed(name="mlflow", revision="r1", crashed=True, failures=failures, exited_at=NOW, exit_code=1)
    assert only(wanted(), seen, NOW + delay - 0.01) is None
    assert only(wanted(), seen, NOW + delay) == "start"


def test_a_crash_with_a_new_revision_does_not_wait() -> None:
    seen = Observed(name="mlflow", revision="r1", crashed=True, failures=6, exited_at=NOW, exit_code=1)
    assert only(wanted(revision="r2"), seen, NOW) == "start"


def test_thirty_healthy_seconds_forgive_earlier_failures() -> None:
    seen = running(failures=5, healthy_since=NOW - 30)
    assert plan.exited(seen, code=-9, once=False, now=NOW).failures == 1
    seen = running(failures=5, healthy_since=NOW - 29)
    assert plan.exited(seen, code=-9, once=False, now=NOW).failures == 6


def test_a_process_that_never_gets_healthy_is_killed_as_hung() -> None:
    seen = running(started_at=NOW - 239)
    assert only(wanted(), seen) is None
    (action,) = decide({"mlflow": wanted()}, {"mlflow": seen}, NOW + 1)
    assert (action.kind, action.reason) == ("kill", "was not healthy within 240 s of its start")


def test_a_process_that_stops_answering_is_killed_as_hung() -> None:
    seen = plan.probed(running(healthy_since=NOW - 50), healthy=False, now=NOW)
    assert only(wanted(), seen, NOW + 29) is None
    (action,) = decide({"mlflow": wanted()}, {"mlflow": seen}, NOW + 30)
    assert (action.kind, action.reason) == ("kill", "did not answer its health probe for 30 s")
    assert only(wanted(), plan.probed(seen, healthy=True, now=NOW + 29), NOW + 40) is None


def test_who_waits_for_another_starts_once_that_is_ready_or_done() -> None:
    desired = {
        "db": wanted("db", once=True),
        "scheduler": wanted("scheduler", after=("db",)),
    }
    assert kinds(decide(desired, {}, NOW)) == [("db", "start")]
    db = plan.started(Observed(name="db"), pid=5, revision="r1", now=NOW)
    assert kinds(decide(desired, {"db": db}, NOW + 1)) == []
    done = plan.exited(db, code=0, once=True, now=NOW + 2)
    assert phase(desired["db"], done) == "done"
    assert kinds(decide(desired, {"db": done}, NOW + 2)) == [("scheduler", "start")]
    failed = plan.exited(db, code=1, once=True, now=NOW + 2)
    assert kinds(decide(desired, {"db": failed}, NOW + 2)) == []
    assert kinds(decide(desired, {"db": failed}, NOW + 3)) == [("db", "start")]


def test_a_restart_does_not_wait_for_the_others_again() -> None:
    desired = {"envoy": wanted("envoy"), "traffic": wanted("traffic", after=("envoy",))}
    crashed = Observed(name="traffic", revision="r1", crashed=True, failures=1, exited_at=NOW - 1, exit_code=1)
    starting = running("envoy")
    assert kinds(decide(desired, {"traffic": crashed, "envoy": starting}, NOW)) == [("traffic", "start")]


def test_work_that_is_done_is_not_started_again_until_it_changes() -> None:
    item = wanted("traffic", once=True)
    done = plan.exited(running("traffic"), code=0, once=True, now=NOW)
    assert only(item, done, NOW + 100) is None
    assert only(wanted("traffic", once=True, revision="r2"), done, NOW) == "start"


def test_phases_in_one_word() -> None:
    item = wanted()
    assert phase(item, Observed(name="mlflow")) == "waiting"
    assert phase(item, running()) == "starting"
    assert phase(item, running(healthy_since=NOW)) == "ready"
    assert phase(item, running(healthy_since=NOW, stop_at=NOW)) == "stopping"
    assert phase(item, plan.exited(running(), code=-9, once=False, now=NOW)) == "crashed"
    assert phase(None, plan.exited(running(stop_at=NOW), code=0, once=False, now=NOW)) == "stopped"
