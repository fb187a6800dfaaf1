"""The judgement keeps its promises under made-up traffic, and misses no more than rules that keep theirs.

The whole table is ``python -m tests.benchmarks.rollouts``. Tolerances are two to three standard errors of a share over
so many rollouts. All rules see the same draws.
"""

from __future__ import annotations

import math

import pytest

pytest.importorskip("numpy", reason="rollouts are simulated in columns")

from tests.benchmarks.rollouts import ALPHA, SCENARIOS, draw, judge

SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}
ALWAYS_VALID, DECLARED = "airflow-mlops, always valid", "airflow-mlops, `max_samples`"
SEED = 20130101


@pytest.mark.parametrize(
    "name",
    ["A/A, 100 looks", "A/A, 100 looks, 50", "A/A, 100 looks, 50 : 450", "A/A, waves", "A/A, bursts"],
)
def test_an_equal_candidate_goes_back_no_more_often_than_alpha(name: str) -> None:
    runs = 1000
    found = judge(ALWAYS_VALID, SCENARIO[name], draw(SCENARIO[name], runs, SEED))
    assert found.back <= ALPHA
    declared = judge(DECLARED, SCENARIO[name], draw(SCENARIO[name], 600, SEED + 1))
    assert declared.back <= ALPHA + 2.5 * math.sqrt(ALPHA * (1 - ALPHA) / 600)


@pytest.mark.parametrize(
    ("name", "missed", "median"),
    # What a simulation of the rollout.s design said of a mixture of likelihood ratios.
    [("+30 %", 0.70, math.inf), ("+50 %", 0.285, math.inf), ("+100 %", 0.0, 5), ("+100 %, 50 : 450", 0.48, math.inf)],
)
def test_the_always_valid_test_finds_what_the_reference_finds(name: str, missed: float, median: float) -> None:
    runs = 4000
    found = judge(ALWAYS_VALID, SCENARIO[name], draw(SCENARIO[name], runs, SEED))
    assert 1 - found.back <= missed + 2 * math.sqrt(max(missed * (1 - missed), 1e-3) / runs)
    assert found.median_look <= median


@pytest.mark.parametrize("name", ["+50 %", "+50 %, waves", "+50 %, bursts"])
def test_with_a_largest_sample_no_more_is_missed_than_by_the_textbook(name: str) -> None:
    runs = 1500
    draws = draw(SCENARIO[name], runs, SEED)
    mine, theirs = (judge(rule, SCENARIO[name], draws) for rule in (DECLARED, "group sequential, normal"))
    # On the same draws the two disagree in about one rollout of a hundred.
    assert mine.back >= theirs.back - 2 * math.sqrt(0.01 / runs)
    assert mine.median_look <= theirs.median_look + 1


def test_other_rules_roll_back_equal_candidates() -> None:
    draws = draw(SCENARIO["A/A"], 1000, SEED)
    back = {rule: judge(rule, SCENARIO["A/A"], draws).back for rule in ("z-test at every look", "Argo, failureLimit 0")}
    assert back["z-test at every look"] > 0.15
    assert back["Argo, failureLimit 0"] > 0.9
