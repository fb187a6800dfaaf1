"""Specs are refused with the field, the value and what would do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec

STEPS = [{"weight_percent": 10}, {"weight_percent": 50}]


def spec(**changes: Any) -> RolloutSpec:
    return decode(RolloutSpec, {"steps": STEPS, **changes}, where="spec")


def test_a_spec_round_trips() -> None:
    full = spec(latency={"slow_ms": 250})
    assert decode(RolloutSpec, encode(full)) == full


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": []}, r"RolloutSpec\.steps: .* expected at least one step"),
        (
            {"steps": [{"weight_percent": 20}, {"weight_percent": 20}]},
            r"steps\[1\]\.weight_percent: 20 .* more than the step before it, which has 20",
        ),
        ({"steps": [{"weight_percent": 0}]}, r"weight_percent: 0 .* from 1 to 99"),
        ({"steps": [{"weight_percent": 100}]}, r"all traffic follows by itself after the last step"),
        ({"steps": [{"weight_percent": 12.5}]}, r"spec\.steps\[0\]\.weight_percent: 12\.5 .* a whole number"),
        ({"steps": [{"weight_percent": 10, "min_seconds": -1}]}, r"min_seconds: -1\.0 .* 0 or more seconds"),
        ({"steps": [{"weight_percent": 10, "min_requests": 0}]}, r"min_requests: 0 .* at least 1 request"),
        ({"error_rate": {"max_increase": 0}}, r"ErrorRateCheck\.max_increase: 0\.0 .* above 0 and below 1"),
        ({"error_rate": {"harm_ratio": 0.5}}, r"ErrorRateCheck\.harm_ratio: 0\.5 .* 1 or more"),
        (
            {"latency": {"slow_ms": 300}},
            r"LatencyCheck\.slow_ms: 300 .* edges that the gateway measures at: 5, 10, 25, 50, 100, 250, 500",
        ),
        ({"latency": {"slow_ms": 250, "max_increase": 1.5}}, r"LatencyCheck\.max_increase: 1\.5"),
        ({"alpha": 0}, r"RolloutSpec\.alpha: 0\.0 .* above 0 and below 0\.5"),
        ({"confidence": 0.5}, r"RolloutSpec\.confidence: 0\.5"),
        ({"look_seconds": 0}, r"RolloutSpec\.look_seconds: 0\.0 .* more than 0 seconds"),
        ({"step_timeout_seconds": 60}, r"more than the longest min_seconds of the steps, which is 60"),
        ({"max_unknown_seconds": 1}, r"more than look_seconds, which is 2"),
        ({"error_rat": {}}, r"did you mean 'error_rate'"),
    ],
)
def test_a_bad_spec_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        spec(**changes)


def test_defaults_ask_for_a_minute_and_a_hundred_requests() -> None:
    step = CanaryStep(weight_percent=5)
    assert (step.min_seconds, step.min_requests) == (60.0, 100)


def test_the_examples_of_the_documentation_are_specs() -> None:
    text = (Path(__file__).parents[3] / "docs" / "rollouts.md").read_text(encoding="utf-8")
    examples = [decode(RolloutSpec, yaml.safe_load(part)) for part in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert [example.strategy for example in examples] == ["canary", "canary", "blue_green"]
    assert examples[1].steps[-1].is_holdback
    assert not any(step.is_holdback for step in examples[0].steps)
