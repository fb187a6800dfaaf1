"""A spec and its evidence in words."""

from __future__ import annotations

from airflow_mlops.codec import decode
from airflow_mlops.rollout.describe import describe_spec
from airflow_mlops.rollout.figures import figures_of
from airflow_mlops.rollout.html import render_html
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView, Tally
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step

SPEC = decode(
    RolloutSpec,
    {
        "steps": [
            {"weight_percent": 10, "min_seconds": 600, "min_requests": 2000},
            {"weight_percent": 50, "min_seconds": 90, "approval": True, "timeout_seconds": 14400},
            {"weight_percent": 97, "min_seconds": 259200, "judge_labels": True, "timeout_seconds": 864000},
        ],
        "labels": {"age_seconds": 86400},
        "predictions": {"edges": [0.5]},
        "step_timeout_seconds": 3600,
    },
)


def test_a_spec_tells_what_would_happen() -> None:
    assert describe_spec(SPEC).splitlines() == [
        "Steps:",
        (
            "1. 10 % of the requests; at least 10 minutes and 2,000 requests at both models; "
            "back unless it is over after 1 hour"
        ),
        (
            "2. 50 % of the requests; at least 1.5 minutes and 100 requests at both models; then it waits until "
            "somebody approves it; back unless it is over after 4 hours"
        ),
        (
            "3. 97 % of the requests, a holdback: 3 % stay at the stable model to be compared with by labels; at least "
            "3 days and 100 requests at both models and 100 labels; back unless it is over after 10 days"
        ),
        "4. all traffic",
        "Rules:",
        "- Failed requests: at most 2.00% more than the stable model",
        "- Wrong predictions: by labels that arrive within 1 day: at most 2.00% more",
        "- Predictions: the shares at or above 0.5 differ by at most 5.00%",
        "- False rollback: an equal candidate goes back with a chance of at most 5.0%",
        "- Proof: with 95.0% confidence at every step",
        "- Looks: every 2 s",
        "- Without data: back after 1 minute",
    ]


def test_a_switch_tells_what_would_happen() -> None:
    spec = decode(RolloutSpec, {"strategy": "blue_green", "steps": [{"weight_percent": 0}, {"weight_percent": 100}]})
    assert describe_spec(spec).splitlines()[:4] == [
        "Blue-green:",
        (
            "1. the stable model is measured alone; at least 1 minute and 100 requests at the stable model; "
            "back unless it is over after 5 minutes"
        ),
        (
            "2. 100 % at once, compared with what was measured; the stable model stays ready; at least 1 minute and "
            "100 requests at the candidate; back unless it is over after 5 minutes"
        ),
        "3. the stable model may go",
    ]


def look(state: RolloutState, now: float, requests: int) -> RolloutState:
    counters = {
        name: ArmCounters(
            requests=requests * share // 100,
            errors=requests * share // 10000,
            timed=requests * share // 100,
            tallies={
                "labels": Tally(requests // 100, requests // 1000),
                "predictions_above_0.5": Tally(requests * share // 100, requests * share // 300),
            },
        )
        for name, share in (("m-v2", 10), ("m-v1", 90))
    }
    route = RouteView(route="m", weights=intended_weights(state))
    return step(state, Observation(route=route, counters=counters), now)[0]


def test_figures_show_estimates_evidence_and_what_would_decide() -> None:
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=0.0)
    assert figures_of(state) == ()
    state = look(look(state, 0.0, 0), 20.0, 4000)
    errors, labels, above, below = figures_of(state)
    assert (errors.candidate, errors.stable) == ("4 of 400 (1.00%)", "36 of 3,600 (1.00%)")
    assert errors.increase.startswith("+0.00% (-")
    assert errors.harm.startswith("e-value 0.")
    assert errors.harm.endswith(", 60 shows it")
    assert errors.proof.startswith("open: at most +")
    assert "proof with about 1,600 more requests" in errors.missing
    assert labels.proof == "not asked for in this step"
    assert labels.candidate == "4 of 40 (10.00%)"
    assert above.what == "predictions that were at or above 0.5"
    assert below.what == "predictions that were below 0.5"
    page = render_html(state, evidence_uri="")
    assert "4 of 400 (1.00%)" in page
    assert "a holdback" in page
    assert "10 minutes and 2,000 requests at both models; back unless it is over after 1 hour <b>— now</b>" in page
