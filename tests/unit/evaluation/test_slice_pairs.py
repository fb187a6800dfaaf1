"""Slices by what two columns have together."""

from __future__ import annotations

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import EvaluationReport
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import ContractError
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")
SLICES = ("carrier", ("carrier", "origin"))


@pytest.fixture(scope="module")
def report():
    """American flights from JFK are predicted the wrong way round; Delta has hardly any from LGA."""
    generator = np.random.default_rng(1)
    signal = generator.normal(size=8000)
    labels = (generator.random(8000) < 1 / (1 + np.exp(-2 * signal))).astype(int)
    carrier, origin = generator.choice(["AA", "DL"], 8000), generator.choice(["JFK", "LGA"], 8000)
    origin[(carrier == "DL") & (generator.random(8000) < 0.95)] = "JFK"
    scores = 1 / (1 + np.exp(-2 * np.where((carrier == "AA") & (origin == "JFK"), -signal, signal)))
    return build_report(
        EvaluationSpec(target="late", slices=SLICES),
        labels=labels,
        days=generator.integers(0, 25, 8000),
        candidate=scores,
        champion=1 / (1 + np.exp(-2 * signal)),
        slices={"carrier": carrier, "origin": origin},
    )


def names(checks):
    return [check.name for check in checks]


def test_pairs_are_measured_beside_single_columns_and_survive_a_file(report):
    assert [part.name for part in report.slices] == [
        *("carrier=AA", "carrier=DL"),
        *("carrier=AA, origin=JFK", "carrier=AA, origin=LGA", "carrier=DL, origin=JFK"),
    ]
    assert list(report.small_slices) == ["carrier=DL, origin=LGA"]
    assert report.small_pairs == {"carrier=DL, origin=LGA": ("carrier", "origin")}
    whole = {part.name: part.candidate.rows for part in report.slices} | report.small_slices
    assert whole["carrier=AA"] == whole["carrier=AA, origin=JFK"] + whole["carrier=AA, origin=LGA"]
    assert sum(whole.values()) == 2 * 8000
    assert decode(EvaluationReport, encode(report)) == report


def test_a_rule_about_a_pair_finds_what_hides_in_it(report):
    rule = {"metric": "brier", "margin": 0.02, "columns": [["origin", "carrier"]], "too_little_data": "ignore"}
    found = judge(report, parse_policy({"slices": [rule]}))[3:]
    assert names(found) == [
        "brier.non_inferiority[carrier=AA, origin=JFK]",
        "brier.non_inferiority[carrier=AA, origin=LGA]",
        "brier.non_inferiority[carrier=DL, origin=JFK]",
        "brier.non_inferiority[slices]",
    ]
    assert [check.verdict for check in found] == [Verdict.FAIL, *[Verdict.PASS] * 3]
    assert "carrier=DL, origin=LGA" in found[-1].reason


def test_a_rule_about_one_column_leaves_pairs_alone_and_one_without_columns_means_all(report):
    rule = {"metric": "brier", "margin": 0.9}
    single = judge(report, parse_policy({"slices": [{**rule, "columns": ["carrier"]}]}))[3:]
    assert names(single)[:2] == ["brier.non_inferiority[carrier=AA]", "brier.non_inferiority[carrier=DL]"]
    assert (len(single), single[-1].verdict) == (3, Verdict.PASS)
    everything = judge(report, parse_policy({"slices": [rule]}))[3:]
    assert (len(everything), everything[-1].verdict) == (6, Verdict.INCONCLUSIVE)


def test_a_pair_that_was_not_evaluated_is_not_passed_over(report):
    rule = {"metric": "brier", "margin": 0.9, "columns": ["carrier", ["carrier", "dest"]]}
    found = judge(report, parse_policy({"slices": [rule]}))[-1]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the evaluation has no slices by these columns together" in found.reason


def test_a_column_without_values_is_named():
    with pytest.raises(ContractError, match="there are no values of the column origin"):
        build_report(
            EvaluationSpec(target="late", slices=SLICES),
            labels=np.array([0, 1]),
            days=np.arange(2),
            candidate=np.array([0.1, 0.2]),
            slices={"carrier": np.array(["AA", "DL"])},
        )
