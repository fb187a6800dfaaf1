"""Counters read out of what Envoy 1.40 writes."""

from __future__ import annotations

import pytest

from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics, parse
from airflow_mlops.exceptions import ContractError, SpecificationError, TransientAdapterError
from airflow_mlops.rollout.observation import ArmCounters

TEXT = """\
# TYPE envoy_cluster_upstream_rq_completed counter
envoy_cluster_upstream_rq_completed{envoy_cluster_name="m-v1"} 257
envoy_cluster_upstream_rq_completed{envoy_cluster_name="m-v2"} 74
# TYPE envoy_cluster_upstream_rq_timeout counter
envoy_cluster_upstream_rq_timeout{envoy_cluster_name="m-v1"} 0
envoy_cluster_upstream_rq_timeout{envoy_cluster_name="m-v2"} 2
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="m-v2"} 66
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="m-v2"} 8
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="m-v2",le="0.5"} 0
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="m-v2",le="250"} 60
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="m-v2",le="+Inf"} 72
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="m-v2"} 891.84553490865891849948863648415
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="m-v2"} 72
"""


def test_requests_errors_and_slow_answers() -> None:
    found = parse(TEXT, ["m-v1", "m-v2", "m-v3"], slow_ms=250, at=5.0)
    assert found == {
        "m-v1": ArmCounters(requests=257, errors=0, timed=0, slow=0, at=5.0),
        # Two requests timed out: they have no duration, and were slow.
        "m-v2": ArmCounters(requests=74, errors=8, timed=74, slow=14, at=5.0),
    }


def test_when_envoy_started_is_the_life_of_all_counters() -> None:
    text = TEXT + 'envoy_cluster_update_time{envoy_cluster_name="gateway_start"} 1795276876944\n'
    found = parse(text, ["m-v1", "m-v2"], slow_ms=None, at=5.0)
    assert {counters.life for counters in found.values()} == {"Envoy from 1795276876.944"}
    # It is not known yet in the first moment.
    early = parse(text.replace("1795276876944", "0"), ["m-v1"], slow_ms=None, at=5.0)
    assert early["m-v1"].life == ""


def test_an_edge_that_envoy_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(SpecificationError, match=r"slow_ms: 300 .* an edge that Envoy has: 0\.5, 250, inf"):
        parse(TEXT, ["m-v2"], slow_ms=300, at=5.0)


def test_a_missing_counter_is_no_zero() -> None:
    with pytest.raises(ContractError, match="upstream_rq_completed of 'm-v2' is missing"):
        parse(TEXT.replace('upstream_rq_completed{envoy_cluster_name="m-v2"}', "gone{}"), ["m-v2"], slow_ms=None, at=0)


def test_an_unreachable_envoy_may_come_back(free_port: int) -> None:
    with pytest.raises(TransientAdapterError, match=f"http://127.0.0.1:{free_port} cannot be read"):
        EnvoyStatistics(f"http://127.0.0.1:{free_port}").read(["m-v1"], slow_ms=None)
