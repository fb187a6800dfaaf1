"""Labels that arrive late, the distribution of predictions, and users in place of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.checks import tally_above
from airflow_mlops.rollout.metric import metrics_of
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView, Tally
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.spec import CanaryStep, LabelCheck, LatencyCheck, PredictionCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.rollout import memory_gateway
from airflow_mlops.verdict import Verdict

OLD, NEW = "m-v1", "m-v2"
Grown = tuple[tuple[int, int], tuple[int, int]]
"""Total and hits of the candidate's tally, then of the stable model's."""

NOTHING: Grown = ((0, 0), (0, 0))
HOUR, DAY = 3600.0, 86400.0
HOLDBACK = RolloutSpec(
    steps=(
        CanaryStep(weight_percent=10, min_seconds=60, min_requests=100),
        CanaryStep(
            weight_percent=97,
            min_seconds=3 * DAY,
            min_requests=100,
            judge_labels=True,
            timeout_seconds=7 * DAY,
        ),
    ),
    labels=LabelCheck(age_seconds=DAY, max_increase=0.05, min_labels=200),
    look_seconds=60,
    max_unknown_seconds=2 * HOUR,
)


class Rollout:
    """A rollout whose arms answer evenly; tallies are what a test makes of them."""

    def __init__(self, spec: RolloutSpec) -> None:
        self.state: RolloutState = begin(spec=spec, model_name="m", candidate=NEW, stable=OLD, now=0.0)
        self.now = 0.0
        self.plan: Plan | None = None
        self.counters = {name: ArmCounters(requests=0, errors=0) for name in (NEW, OLD)}

    def look(
        self,
        seconds: float,
        *,
        requests: int = 1000,
        labels: Grown = NOTHING,
        labelled: Grown = NOTHING,
        users: Grown = NOTHING,
        predictions: Mapping[str, Grown] | None = None,
    ) -> None:
        """Let time pass in which ``requests`` are answered and tallies of candidate and stable model grow."""
        self.now += seconds
        weights = intended_weights(self.state)
        tallies = {"labels": labels, "labelled": labelled, "users": users, **(predictions or {})}
        for position, name in enumerate((NEW, OLD)):
            before = self.counters[name]
            together = dict(before.tallies)
            for key in self.state.spec.wanted_tallies():
                total, hits = tallies.get(key, NOTHING)[position]
                so_far = together.get(key, Tally())
                together[key] = Tally(so_far.total + total, so_far.hits + hits)
            answered = before.requests + requests * weights.get(name, 0) // 100
            self.counters[name] = replace(before, requests=answered, tallies=together)
        route = RouteView(route="m", weights=weights)
        self.state, self.plan = step(self.state, Observation(route=route, counters=self.counters), self.now)

    def check(self, name: str) -> Any:
        return next(check for check in self.state.checks if check.name == name)


def at_the_holdback(spec: RolloutSpec = HOLDBACK) -> Rollout:
    rollout = Rollout(spec)
    rollout.look(0)
    rollout.look(100, requests=20_000)
    assert rollout.state.step_index == 1
    rollout.look(60)
    return rollout


def test_a_holdback_lasts_until_labels_of_its_own_predictions_prove_it() -> None:
    rollout = at_the_holdback()
    for _ in range(23):  # labels of the step before: no proof, however many
        rollout.look(HOUR, labels=((500, 50), (500, 50)))
    assert rollout.state.canary.tally("labels").total == 0
    for _ in range(48):
        rollout.look(HOUR, labels=((970, 97), (30, 3)))
        assert not rollout.state.finished
    assert rollout.check("labels.proof").verdict is Verdict.INCONCLUSIVE
    while not rollout.state.finished:
        rollout.look(HOUR, labels=((970, 97), (30, 3)))
    assert rollout.state.phase == "promoted"
    assert 3 * DAY <= rollout.now < 4.5 * DAY
    assert "share of labelled predictions that were wrong" in rollout.state.reason


@pytest.mark.parametrize(("with_label", "ends"), [(27, "promoted"), (18, "rolled_back")])
def test_labels_prove_nothing_where_one_model_gets_more_of_them(with_label: int, ends: str) -> None:
    labels = LabelCheck(age_seconds=DAY, max_increase=0.05, min_labels=200, max_coverage_difference=0.1)
    spec = replace(HOLDBACK, labels=labels)
    assert spec.wanted_tallies() == ("labels", "labelled")
    rollout = at_the_holdback(spec)
    for _ in range(24):  # old enough now, but predicted before the step
        rollout.look(HOUR, labels=((300, 30), (300, 30)), labelled=((300, 300), (300, 300)))
    assert rollout.state.canary.tally("labelled").total == 0
    while not rollout.state.finished:
        # The candidate's predictions get a label in 90 %, the stable model's in 90 % or in 60 %.
        rollout.look(HOUR, labels=((873, 87), (with_label, 3)), labelled=((970, 873), (30, with_label)))
    assert rollout.state.phase == ends
    if ends == "rolled_back":
        assert rollout.now >= 7 * DAY
        assert "old enough for a label that had a label: increase +30.00%" in rollout.state.reason
    else:
        assert "old enough for a label that had no label: increase +0.00%" in rollout.state.reason


def test_labels_send_a_holdback_back() -> None:
    rollout = at_the_holdback()
    for _ in range(24):
        rollout.look(HOUR)
    for _ in range(12):
        rollout.look(HOUR, labels=((970, 300), (30, 3)))
        if rollout.state.finished:
            break
    assert intended_weights(rollout.state) == {OLD: 100}
    assert "labelled predictions were wrong at m-v2" in rollout.state.reason
    assert "worse beyond chance" in rollout.state.reason


def test_labels_of_the_steps_before_are_evidence_of_harm() -> None:
    rollout = at_the_holdback()
    rollout.look(HOUR, labels=((200, 120), (1800, 180)))
    assert rollout.state.phase == "rolled_back"
    assert "120 of 200 labelled predictions were wrong at m-v2, 180 of 1800 at m-v1" in rollout.state.reason


def test_without_labels_a_holdback_goes_back_in_the_end() -> None:
    rollout = at_the_holdback()
    while not rollout.state.finished:
        rollout.look(HOUR)
    assert rollout.state.phase == "rolled_back"
    assert "not proven in 604800 s at 97 %" in rollout.state.reason
    assert "0 labelled predictions at m-v2 and 0 at m-v1; 200 are needed at both" in rollout.state.reason


def test_healthy_traffic_is_a_verdict_on_every_day_of_a_holdback() -> None:
    """The lease lives on verdicts: looks without labels have to be some."""
    rollout = at_the_holdback()
    before = rollout.state.sequence
    for _ in range(48):
        rollout.look(HOUR)
        assert rollout.state.unknown_since is None
        assert rollout.state.sequence > before
        before = rollout.state.sequence


def test_the_lease_lives_through_a_holdback_and_ends_without_traffic() -> None:
    gateway, router, store, metrics, clock = memory_gateway()
    token = store.acquire("m", "dag/run/task", lease_seconds=2 * HOUR).token
    router.ensure_targets("m", {OLD: 8201, NEW: 8202}, fencing_token=token)
    state = begin(spec=HOLDBACK, model_name="m", candidate=NEW, stable=OLD, now=clock.now())
    store.save("m", state, token=token, renew=True)

    def serve(looks: int, requests: int) -> None:
        for _ in range(looks):
            clock.advance(HOUR)
            for name, weight in router.observe("m").weights.items():
                metrics.count(name, requests=requests * weight // 100, tallies={"labels": Tally(weight, weight // 3)})
            if not metrics.broken:
                state, plan = gateway.look("m", token=token)
                if plan.has_effects:
                    gateway.apply(state, token=token)
            return_expired("m", router=router, store=store, clock=clock)

    for name in (OLD, NEW):
        metrics.count(name, requests=0)
    serve(60, 10_000)
    assert router.observe("m").weights == {NEW: 97, OLD: 3}
    metrics.broken = "everybody is gone"
    serve(3, 0)
    assert router.observe("m").weights == {OLD: 100}


def test_labels_are_no_proof_where_no_step_asks_for_them() -> None:
    rollout = Rollout(HOLDBACK)
    rollout.look(0)
    rollout.look(30, requests=5000)
    assert "labels.proof" not in {check.name for check in rollout.state.checks}
    assert "labels.harm" in {check.name for check in rollout.state.checks}


def test_one_arm_that_restarts_loses_no_labels() -> None:
    rollout = at_the_holdback()
    for _ in range(25):
        rollout.look(HOUR)
    rollout.counters[NEW] = replace(rollout.counters[NEW], requests=0)
    rollout.look(HOUR, labels=((970, 97), (30, 3)))
    assert "began again" in str(rollout.plan)
    rollout.look(HOUR, labels=((970, 97), (30, 3)))
    assert rollout.state.canary.tally("labels") == Tally(1940, 194)


def test_a_tally_that_one_arm_lacks_counts_for_neither() -> None:
    rollout = at_the_holdback()
    rollout.counters[OLD] = replace(rollout.counters[OLD], tallies={})
    state = rollout.state
    route = RouteView(route="m", weights=intended_weights(state))
    counters = {NEW: replace(rollout.counters[NEW], requests=9999, tallies={"labels": Tally(500, 400)})}
    counters[OLD] = replace(rollout.counters[OLD], requests=rollout.counters[OLD].requests + 250)
    state, _ = step(state, Observation(route=route, counters=counters), rollout.now + HOUR)
    assert state.canary.tallies == {}
    assert not state.finished


EDGES = (0.2, 0.5)
PREDICTIONS = RolloutSpec(
    steps=(CanaryStep(weight_percent=50, min_seconds=10, min_requests=500),),
    predictions=PredictionCheck(edges=EDGES, max_difference=0.1),
    step_timeout_seconds=600,
)


def predicted(new: float, old: float, many: int = 500) -> dict[str, Grown]:
    """Both arms' predictions, with a share above 0.5, and everything above 0.2."""
    return {
        tally_above(0.2): ((many, many), (many, many)),
        tally_above(0.5): ((many, round(many * new)), (many, round(many * old))),
    }


@pytest.mark.parametrize(("new", "side"), [(0.65, "at or above 0.5"), (0.05, "below 0.5")])
def test_predictions_that_move_to_either_side_are_harm(new: float, side: str) -> None:
    rollout = Rollout(PREDICTIONS)
    rollout.look(0)
    for _ in range(4):
        rollout.look(2, predictions=predicted(new, 0.35))
    assert rollout.state.phase == "rolled_back"
    assert f"predictions were {side} at m-v2" in rollout.state.reason


@pytest.mark.parametrize(("new", "old"), [(0.0, 0.06), (1.0, 0.94)])
def test_a_model_that_gives_but_one_answer_is_harm(new: float, old: float) -> None:
    """Hardly a change for those who had that answer before: the others are missing."""
    rollout = Rollout(replace(PREDICTIONS, predictions=PredictionCheck(edges=EDGES, max_difference=0.03)))
    rollout.look(0)
    for _ in range(3):
        rollout.look(2, predictions=predicted(new, old, 200))
    assert rollout.state.phase == "rolled_back"
    assert decode(RolloutState, encode(rollout.state)) == rollout.state


def test_predictions_that_stay_prove_it() -> None:
    rollout = Rollout(PREDICTIONS)
    rollout.look(0)
    for _ in range(20):
        rollout.look(2, predictions=predicted(0.36, 0.35))
        if rollout.state.finished:
            break
    assert rollout.state.phase == "promoted"
    for side in ("above", "below"):
        check = rollout.check(f"predictions_{side}_0.5.proof")
        assert check.high is not None
        assert check.high <= 0.1


def test_predictions_nobody_counted_never_promote() -> None:
    rollout = Rollout(PREDICTIONS)
    rollout.look(0)
    while not rollout.state.finished:
        rollout.look(2)
    assert rollout.state.phase == "rolled_back"
    assert "0 predictions at m-v2 and 0 at m-v1; 500 are needed at both" in rollout.state.reason


USERS = RolloutSpec(
    steps=(CanaryStep(weight_percent=50, min_seconds=10, min_requests=200),), unit="users", step_timeout_seconds=600
)


def test_users_are_judged_in_place_of_requests() -> None:
    """One user whose every request fails is one failure, however often he asks."""
    rollout = Rollout(USERS)
    rollout.look(0)
    rollout.counters[NEW] = replace(rollout.counters[NEW], errors=400)
    rollout.look(5, users=((300, 1), (300, 0)))
    assert not rollout.state.finished
    assert rollout.check("error_rate.harm").reason.startswith("1 of 300 users met an error at m-v2, 0 of 300 at m-v1")


def test_users_with_errors_roll_back() -> None:
    rollout = Rollout(USERS)
    rollout.look(0)
    rollout.look(5, users=((300, 0), (300, 0)))
    rollout.look(5, users=((0, 40), (0, 1)))  # no new users: old ones meet errors
    assert rollout.state.phase == "rolled_back"


def test_the_share_is_one_of_users() -> None:
    rollout = Rollout(USERS)
    rollout.look(0)
    rollout.look(5, users=((900, 0), (300, 0)))
    assert rollout.plan is not None
    assert "900 of 1200 users (75.0%) came to m-v2; its weight is 50%" in rollout.plan.reason
    assert rollout.state.unknown_since is not None


def test_alpha_is_split_over_what_is_declared() -> None:
    spec = replace(HOLDBACK, latency=LatencyCheck(slow_ms=250), predictions=PredictionCheck(edges=(0.2, 0.5)))
    shares = {metric.name: metric.alpha_share for metric in metrics_of(spec)}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["error_rate"] == shares["labels"] == 0.25
    assert shares["predictions_below_0.2"] == 0.25 / 4


def test_what_is_wanted_is_named() -> None:
    spec = replace(HOLDBACK, predictions=PredictionCheck(edges=(0.5, 1, -0.25)), unit="users")
    assert spec.wanted_tallies() == (
        "labels",
        "predictions_above_0.5",
        "predictions_above_1",
        "predictions_above_-0.25",
        "users",
    )
    assert decode(RolloutSpec, encode(spec)) == spec
    assert RolloutSpec(steps=(CanaryStep(weight_percent=5),)).wanted_tallies() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"max_increase": 0.1}}, r"spec\.labels\.age_seconds: .* required"),
        ({"labels": {"age_seconds": -1}}, r"LabelCheck\.age_seconds: -1\.0 .* 0 or more"),
        ({"predictions": {"edges": []}}, r"PredictionCheck\.edges: .* at least one number"),
        ({"predictions": {"edges": [0.5, 0.5]}}, r"PredictionCheck\.edges: .* each once"),
        ({"predictions": {"edges": [0.5], "max_difference": 0}}, r"max_difference: 0\.0"),
        ({"steps": [{"weight_percent": 10, "judge_labels": True}]}, r"judge_labels: .* false without labels"),
        (
            {"steps": [{"weight_percent": 10, "judge_labels": True}], "labels": {"age_seconds": 3600}},
            r"steps\[0\]\.timeout_seconds: 300\.0 .* more than labels\.age_seconds, which is 3600",
        ),
        (
            {"steps": [{"weight_percent": 10, "min_seconds": 20, "timeout_seconds": 20}]},
            r"CanaryStep\.timeout_seconds: 20\.0 .* more than min_seconds, which is 20",
        ),
        ({"unit": "people"}, r"spec\.unit: 'people'"),
    ],
)
def test_a_bad_spec_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        decode(RolloutSpec, {"steps": [{"weight_percent": 10}], **changes}, where="spec")


def test_equal_candidates_go_back_as_seldom_as_alpha_says() -> None:
    """Labels come in lumps and predictions lie in the middle, where the test of rare failures is careful."""
    import numpy as np

    spec = RolloutSpec(
        steps=(CanaryStep(weight_percent=50, min_seconds=1e6, min_requests=100),),
        labels=LabelCheck(age_seconds=0, max_increase=1e-9),
        predictions=PredictionCheck(edges=(0.5,), max_difference=1e-9),
        alpha=0.2,
        step_timeout_seconds=1e7,
    )
    random = np.random.default_rng(20130101)
    back = 0
    for _ in range(150):
        rollout = Rollout(spec)
        rollout.look(0)
        for _ in range(30):
            labels = [int(n) for n in random.poisson(random.choice([0, 0, 0, 200]), 2)]
            wrong = [int(random.binomial(n, 0.2)) for n in labels]
            above = [int(n) for n in random.binomial(300, 0.5, 2)]
            rollout.look(
                2,
                labels=((labels[0], wrong[0]), (labels[1], wrong[1])),
                predictions={tally_above(0.5): ((300, above[0]), (300, above[1]))},
            )
            if rollout.state.finished:
                back += 1
                break
    assert back <= 0.2 * 150
