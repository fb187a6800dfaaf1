"""What a spec would do, by simulation; and that the numbers can be relied on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.simulate import Simulation, simulate
from airflow_mlops.rollout.simulation_html import describe_seconds, render_simulation
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, LatencyCheck, RolloutSpec
from airflow_mlops.rollout.traffic import Regression, Traffic

SPEC = RolloutSpec(
    steps=(
        CanaryStep(weight_percent=10, min_seconds=10, min_requests=100),
        CanaryStep(weight_percent=50, min_seconds=10, min_requests=200),
    ),
    error_rate=ErrorRateCheck(max_increase=0.03),
    latency=LatencyCheck(slow_ms=250, max_increase=0.05),
    step_timeout_seconds=120,
)
TRAFFIC = Traffic(requests_per_second=80, error_rate=0.01, slow_share=0.02)
RUNS = 400


def test_an_equal_candidate_goes_on_and_a_broken_one_goes_back() -> None:
    found = simulate(SPEC, TRAFFIC, {"broken": Regression(error_more=0.2)}, runs=RUNS)
    equal, broken = found.scenarios
    assert found.false_rollback.value <= SPEC.alpha
    assert equal.promoted.value >= 0.95
    assert broken.harm.value == 1.0
    assert broken.mean_seconds < equal.mean_seconds
    # Two looks' requests of the candidate, or few more, are exposed before a broken one goes back.
    assert broken.p90_requests < 80 * SPEC.look_seconds
    assert equal.promoted.low <= equal.promoted.value <= equal.promoted.high


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others() -> None:
    first = simulate(SPEC, TRAFFIC, {}, runs=50, seed=3)
    assert simulate(SPEC, TRAFFIC, {}, runs=50, seed=3) == first
    assert simulate(SPEC, TRAFFIC, {}, runs=50, seed=4).scenarios != first.scenarios


def test_no_traffic_promotes_nobody() -> None:
    found = simulate(SPEC, replace(TRAFFIC, requests_per_second=0.001), {}, runs=50)
    assert found.scenarios[0].unknown.value == 1.0
    assert found.scenarios[0].p90_seconds <= SPEC.max_unknown_seconds + 2 * SPEC.look_seconds


@pytest.mark.parametrize(
    "waves", [{"burstiness": 1.0}, {"error_variation": 0.5}, {"burstiness": 0.5, "error_variation": 0.5}]
)
@pytest.mark.parametrize("autocorrelation", [0.0, 0.9])
def test_bursts_and_waves_that_hit_both_models_roll_back_no_more_than_alpha(
    waves: dict[str, float], autocorrelation: float
) -> None:
    traffic = replace(TRAFFIC, **waves, autocorrelation=autocorrelation)
    # Against the smallest tolerance, so that only the statistics stand between an equal candidate and a rollback.
    strict = replace(SPEC, error_rate=ErrorRateCheck(max_increase=1e-6), latency=None)
    found = simulate(strict, traffic, {}, runs=RUNS)
    assert found.false_rollback.low <= SPEC.alpha


def test_the_waves_have_a_mean_of_one_and_keep_what_is_asked() -> None:
    import numpy as np

    from airflow_mlops.rollout.traffic import Waves

    traffic = replace(TRAFFIC, burstiness=0.5, autocorrelation=0.8)
    waves = Waves(traffic, 4000, np.random.default_rng(1))
    first, second = waves.advance()[0], waves.advance()[0]
    assert first.mean() == pytest.approx(1.0, abs=0.04)
    assert first.std() == pytest.approx(0.5, abs=0.05)
    assert np.corrcoef(np.log(first), np.log(second))[0, 1] == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"requests_per_second": 0}, "Traffic.requests_per_second: 0 .* more than 0"),
        ({"error_rate": 1.5}, "Traffic.error_rate: 1.5 .* a share"),
        ({"autocorrelation": 1}, "below 1"),
        ({"burstiness": float("nan")}, "Traffic.burstiness"),
    ],
)
def test_traffic_that_cannot_be_is_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(SpecificationError, match=words):
        replace(TRAFFIC, **changes)


def test_a_regression_of_nothing_is_refused() -> None:
    with pytest.raises(SpecificationError, match="a share of a rate of 0 is no increase"):
        simulate(SPEC, Traffic(requests_per_second=1), {"errors +50%": Regression(error_times=1.5)}, runs=1)
    with pytest.raises(SpecificationError, match="the candidate's error rate"):
        simulate(SPEC, TRAFFIC, {"x": Regression(error_more=1)}, runs=1)
    with pytest.raises(SpecificationError, match="1 to 100000 rollouts"):
        simulate(SPEC, TRAFFIC, {}, runs=0)


def test_a_simulation_round_trips_and_has_a_page() -> None:
    found = simulate(SPEC, TRAFFIC, {"errors +0.2": Regression(error_more=0.2)}, runs=50)
    assert decode(Simulation, encode(found)) == found
    page = render_simulation(found, name="<b>.yaml")
    assert "<svg" in page
    assert "errors +0.2: sent back" in page
    assert "<script" not in page
    assert "<b>.yaml" not in page


def test_durations_are_told_in_a_unit_that_fits() -> None:
    assert [describe_seconds(value) for value in (90, 130, 9000, 200000)] == ["90 s", "2.2 min", "2.5 h", "2.3 d"]
