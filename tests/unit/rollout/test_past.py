"""Past traffic is described by the numbers that it was made with."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.past import read_windows, traffic_of
from airflow_mlops.rollout.traffic import Traffic, Waves


def made(traffic: Traffic, spans: int, seconds: float) -> list[Counts]:
    import numpy as np

    random = np.random.default_rng(20130101)
    waves, windows = Waves(traffic, 1, random), []
    for _ in range(spans):
        more, worse = (float(part[0]) for part in waves.advance())
        requests = int(random.poisson(traffic.requests_per_second * seconds * more))
        errors, slow = (
            int(random.binomial(requests, min(1.0, rate * worse))) for rate in (traffic.error_rate, traffic.slow_share)
        )
        windows.append(Counts(requests=requests, errors=errors, timed=requests, slow=slow))
    return windows


def test_even_traffic_has_no_waves() -> None:
    usual = Traffic(requests_per_second=50, error_rate=0.02)
    found = traffic_of(made(usual, 500, 2.0), seconds=2.0, look_seconds=2.0)
    assert found.requests_per_second == pytest.approx(50, rel=0.05)
    assert found.error_rate == pytest.approx(0.02, rel=0.1)
    assert (found.burstiness, found.error_variation, found.autocorrelation, found.slow_share) == (0, 0, 0, 0)


def test_waves_are_found_with_their_size_and_memory() -> None:
    usual = Traffic(
        requests_per_second=100,
        error_rate=0.05,
        slow_share=0.1,
        burstiness=0.5,
        error_variation=0.3,
        autocorrelation=0.7,
    )
    found = traffic_of(made(usual, 3000, 5.0), seconds=5.0, look_seconds=5.0)
    assert found.burstiness == pytest.approx(0.5, rel=0.2)
    assert found.error_variation == pytest.approx(0.3, rel=0.2)
    assert found.autocorrelation == pytest.approx(0.7, abs=0.1)
    # What is left after half the time is more.
    halved = traffic_of(made(usual, 3000, 5.0), seconds=5.0, look_seconds=2.5)
    assert halved.autocorrelation == pytest.approx(found.autocorrelation**0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,count\n1,2", "columns requests and errors"),
        ("requests,errors\n1,x", "past, line 2: .* whole numbers"),
        ("requests,errors\n5,1\n1,2", "past, line 3: .* none above requests"),
        ("requests,errors\n1,0", "at least 20 rows"),
        ("requests,errors\n" + "0,0\n" * 30, "rows with requests in them"),
    ],
)
def test_what_describes_no_traffic_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        traffic_of(read_windows(text), seconds=1.0, look_seconds=1.0)


def test_spans_have_a_length() -> None:
    windows: list[Any] = [Counts(requests=5)] * 30
    with pytest.raises(SpecificationError, match="more than 0 seconds"):
        traffic_of(windows, seconds=0.0, look_seconds=1.0)
