"""Rules about groups: each can pass, fail, and stay undecided."""

from __future__ import annotations

import pytest

from airflow_mlops.evaluation.diagnostics import DiagnosticsReport
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.fairness_report import METRICS, FairnessColumn, FairnessReport, GroupRates, RateSpread
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import EvaluationReport, Measurements, Reference
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict

ESTIMATE = Estimate(value=0.1, low=0.0, high=0.2, method="made up")
REFERENCE = Reference(rows=1, label_rate=0.2, mean_prediction=0.2, brier=0.1, by_day=())
ROWS = {"north": 4000, "south": 3000, "west": 500}


def spread(north, south, west=None, *, error=0.01):
    values = (north, south) if west is None else (north, south, west)
    names = tuple(ROWS)[: len(values)]
    return RateSpread(
        groups=names,
        rows=tuple(ROWS[name] for name in names),
        cases=tuple(ROWS[name] for name in names),
        values=values,
        covariance=tuple(
            tuple(error**2 if one == other else 0.0 for other in range(len(values))) for one in range(len(values))
        ),
        clusters=(30,) * len(values),
        tail=0.0125,
        gap=ESTIMATE,
        ratio=ESTIMATE,
    )


def fairness(**spreads):
    column = FairnessColumn(
        column="region",
        groups=tuple(GroupRates(name=name, rows=rows, positives=1, selected=1, days=30) for name, rows in ROWS.items()),
        small_groups={"isle": 40},
        spreads=spreads,
        unmeasured={"precision": "1 of 4 groups have enough rows and days, and two are compared"},
    )
    return FairnessReport(threshold=0.5, confidence=0.95, minimum_rows=200, minimum_cases=30, columns=(column,))


def check(found, **rule):
    whole = Measurements(rows=7540, positives=1500, metrics={}, days=30)
    report = EvaluationReport(
        target="late",
        confidence=0.95,
        days=30,
        candidate=whole,
        reference=REFERENCE,
        diagnostics=None if found is None else DiagnosticsReport(fairness=found),
    )
    rule = {"column": "region", "metric": "selection_rate", **rule}
    return judge(report, parse_policy({"fairness": [rule]}))[-1]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("bound", "south", "verdict"),
    [
        ({"max_gap": 0.1}, 0.49, Verdict.PASS),
        ({"max_gap": 0.1}, 0.42, Verdict.INCONCLUSIVE),
        ({"max_gap": 0.1}, 0.2, Verdict.FAIL),
        ({"min_ratio": 0.8}, 0.49, Verdict.PASS),
        ({"min_ratio": 0.8}, 0.4, Verdict.INCONCLUSIVE),
        ({"min_ratio": 0.8}, 0.2, Verdict.FAIL),
    ],
)
def test_a_rule_looks_at_the_whole_interval(metric, bound, south, verdict):
    assert check(fairness(**{metric: spread(0.5, south)}), metric=metric, **bound).verdict is verdict


@pytest.mark.parametrize(
    ("bound", "other", "verdict"),
    [
        ({"max_gap": 0.1}, 0.49, Verdict.PASS),
        ({"max_gap": 0.1}, 0.2, Verdict.FAIL),
        ({"min_ratio": 0.8}, 0.2, Verdict.FAIL),
    ],
)
@pytest.mark.parametrize("worse", ["true_positive_rate", "false_positive_rate"])
def test_equalized_odds_are_as_bad_as_the_worse_of_the_two_rates(bound, other, verdict, worse):
    rates = {name: spread(0.5, 0.5) for name in ("true_positive_rate", "false_positive_rate")}
    rates[worse] = spread(0.5, other)
    assert check(fairness(**rates), metric="equalized_odds", **bound).verdict is verdict


def test_the_reason_tells_numbers_groups_and_who_was_too_small():
    found = check(fairness(selection_rate=spread(0.5, 0.3)), max_gap=0.1)
    assert found.name == "fairness.selection_rate.max_gap[region]"
    assert found.reason == (
        "selection_rate gap 0.2000 (95 % interval 0.1666 to 0.2289) between 2 groups of region; max_gap 0.1: "
        "broken by the whole interval; too small to be judged: west (500 rows), isle (40 rows)"
    )
    assert found.details["small_groups"] == {"west": 500, "isle": 40}


def test_undecided_says_what_would_decide():
    found = check(fairness(selection_rate=spread(0.5, 0.42)), max_gap=0.1)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "would decide if the rates stay as they are" in found.reason
    assert 20 < found.details["more_days"] < 40
    close = check(fairness(selection_rate=spread(0.5, 0.4001)), max_gap=0.1)
    assert "so close to the bound that no number of rows would decide" in close.reason


def test_groups_with_fewer_rows_than_the_rule_asks_for_are_named_and_not_judged():
    found = fairness(selection_rate=spread(0.5, 0.49, 0.1))
    assert check(found, max_gap=0.1).verdict is Verdict.FAIL
    without = check(found, max_gap=0.1, min_rows=1000)
    assert without.verdict is Verdict.PASS
    assert "between 2 groups" in without.reason
    assert without.reason.endswith("too small to be judged: west (500 rows), isle (40 rows)")
    nobody = check(found, max_gap=0.1, min_rows=3500)
    assert nobody.verdict is Verdict.INCONCLUSIVE
    assert nobody.reason == "not measured: fewer than two groups of region have the 3,500 rows that the rule asks for"


@pytest.mark.parametrize(
    ("found", "rule", "reason"),
    [
        (None, {}, "the evaluation's diagnostics name no column region under fairness"),
        (fairness(), {"column": "carrier"}, "name no column carrier under fairness"),
        (fairness(), {}, "the evaluation's diagnostics do not name selection_rate under fairness.metrics"),
        (fairness(), {"metric": "precision"}, "1 of 4 groups have enough rows and days"),
        (fairness(true_positive_rate=spread(0.5, 0.5)), {"metric": "equalized_odds"}, "do not name equalized_odds"),
    ],
)
@pytest.mark.parametrize("severity", ["fail", "warn"])
def test_what_was_not_measured_is_never_a_pass(found, rule, reason, severity):
    judged = check(found, max_gap=0.1, severity=severity, **rule)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert reason in judged.reason


def test_rates_of_zero_everywhere_have_no_ratio():
    judged = check(fairness(selection_rate=spread(0.0, 0.0)), min_ratio=0.8)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == "not measured: selection_rate is 0 in every group, so there is no ratio"


def test_a_rule_that_warns_stops_no_one():
    judged = check(fairness(selection_rate=spread(0.5, 0.2)), max_gap=0.1, severity="warn")
    assert judged.verdict is Verdict.WARN
    assert judged.reason.endswith("(a warning only, as the policy says)")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"column": "region", "metric": "recall", "max_gap": 0.1},
            "expected one of selection_rate, true_positive_rate",
        ),
        ({"column": "region", "metric": "precision"}, "either a max_gap or a min_ratio"),
        (
            {"column": "region", "metric": "precision", "max_gap": 0.1, "min_ratio": 0.8},
            "either a max_gap or a min_ratio",
        ),
        ({"column": "region", "metric": "precision", "max_gap": 1.0}, "above 0 and below 1"),
        ({"column": "region", "metric": "precision", "min_ratio": 0.0}, "above 0 and below 1"),
        ({"column": "region", "metric": "precision", "max_gap": 0.1, "min_rows": 0}, "at least 1"),
        ({"column": "", "metric": "precision", "max_gap": 0.1}, "the name of a column"),
        ({"colum": "region", "metric": "precision", "max_gap": 0.1}, "did you mean 'column'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule, message):
    with pytest.raises(SpecificationError, match=message):
        parse_policy({"fairness": [rule]})


def test_a_question_is_asked_once():
    rule = {"column": "region", "metric": "precision", "max_gap": 0.1}
    parse_policy({"fairness": [rule, {**rule, "column": "carrier"}]})
    with pytest.raises(SpecificationError, match="each metric at most once"):
        parse_policy({"fairness": [rule, {**rule, "max_gap": 0.2}]})
