"""Groups: the numbers are fairlearn's, the intervals keep what they promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Diagnostics, Subject, diagnose
from airflow_mlops.evaluation.fairness import FairnessSpec
from airflow_mlops.evaluation.fairness_counts import MISSING
from airflow_mlops.evaluation.fairness_page import view_fairness
from airflow_mlops.evaluation.fairness_report import METRICS, FairnessReport
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.page import render_page

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas", reason="evaluations read frames")


def subject(rows=6000, *, column=None, labels=None, scores=None, seed=1, threshold=0.5):
    generator = np.random.default_rng(seed)
    if column is None:
        column = generator.choice(["north", "south", "west"], p=[0.5, 0.3, 0.2], size=rows)
    labels = generator.integers(0, 2, rows) if labels is None else labels
    scores = np.clip(0.4 * labels + 0.6 * generator.random(rows), 0, 1) if scores is None else scores
    days = np.array([f"2013-01-{day:02d}" for day in generator.integers(1, 31, rows)])
    candidate = Diagnosed(predict=lambda frame: scores, scores=scores, features={}, path=Path())
    return Subject(
        rows=pd.DataFrame({"region": column, "late": labels}),
        target="late",
        labels=labels,
        days=days,
        candidate=candidate,
        threshold=threshold,
    )


def measured(given, **options):
    spec = FairnessSpec(columns=("region",), **options)
    return diagnose(Diagnostics(fairness=spec), given).fairness


def test_rates_gaps_and_ratios_are_those_of_fairlearn():
    fairlearn = pytest.importorskip("fairlearn.metrics", reason="it is what the numbers are compared with")
    from sklearn.metrics import precision_score, roc_auc_score

    given = subject()
    found = measured(given, metrics=METRICS).columns[0]
    region, chosen = given.rows["region"], (given.candidate.scores >= 0.5).astype(int)
    frame = fairlearn.MetricFrame(
        metrics={
            "selection_rate": fairlearn.selection_rate,
            "true_positive_rate": fairlearn.true_positive_rate,
            "false_positive_rate": fairlearn.false_positive_rate,
            "precision": precision_score,
        },
        y_true=given.labels,
        y_pred=chosen,
        sensitive_features=region,
    )
    areas = fairlearn.MetricFrame(
        metrics={"roc_auc": roc_auc_score},
        y_true=given.labels,
        y_pred=given.candidate.scores,
        sensitive_features=region,
    )
    for one in (frame, areas):
        for metric, gap in one.difference().items():
            assert found.spreads[metric].gap.value == pytest.approx(gap, abs=1e-12)
            assert found.spreads[metric].ratio.value == pytest.approx(one.ratio()[metric], abs=1e-12)
            rates = {group.name: group.rates[metric].value for group in found.groups}
            assert rates == pytest.approx(one.by_group[metric].to_dict(), abs=1e-12)
    people = {"y_true": given.labels, "y_pred": chosen, "sensitive_features": region}
    assert found.spreads["selection_rate"].gap.value == pytest.approx(fairlearn.demographic_parity_difference(**people))
    odds = found.spreads_of("equalized_odds", 1, 0.95)
    assert max(one.difference().value for one in odds) == pytest.approx(fairlearn.equalized_odds_difference(**people))
    assert min(one.ratio().value for one in odds) == pytest.approx(fairlearn.equalized_odds_ratio(**people))


def test_an_estimate_lies_in_its_interval_and_small_groups_are_named_only():
    column = np.array(["big"] * 3000 + ["other"] * 2900 + ["tiny"] * 50 + [None] * 50, dtype="object")
    found = measured(subject(column=column)).columns[0]
    assert [group.name for group in found.groups] == ["big", "other"]
    assert found.small_groups == {"tiny": 50, MISSING: 50}
    assert found.rows == 6000
    for spread in found.spreads.values():
        assert spread.groups == ("big", "other")
        assert spread.gap.low <= spread.gap.value <= spread.gap.high
        assert spread.ratio.low <= spread.ratio.value <= spread.ratio.high


def test_a_rate_is_measured_only_where_there_are_cases_that_it_is_over():
    labels = np.array([0, 1] * 2000 + [0] * 1980 + [1] * 20)
    column = np.array(["north"] * 2000 + ["south"] * 2000 + ["calm"] * 2000)
    found = measured(subject(column=column, labels=labels), metrics=("selection_rate", "true_positive_rate", "roc_auc"))
    spreads = found.columns[0].spreads
    assert spreads["selection_rate"].groups == ("calm", "north", "south")
    assert spreads["true_positive_rate"].groups == spreads["roc_auc"].groups == ("north", "south")
    assert "true_positive_rate" not in found.columns[0].groups[0].rates


def test_one_group_is_not_compared_and_the_reason_is_told():
    column = np.array(["big"] * 5900 + ["tiny"] * 100)
    found = measured(subject(column=column)).columns[0]
    assert found.spreads == {}
    assert found.unmeasured["selection_rate"] == "1 of 2 groups have enough rows and days, and two are compared"


def test_the_same_rows_give_the_same_report_and_it_survives_the_codec():
    first, second = (measured(subject()) for _ in range(2))
    assert canonical_json(encode(first)) == canonical_json(encode(second))
    assert decode(FairnessReport, encode(first)) == first


def test_the_champion_is_measured_in_the_same_groups():
    fair, column = subject(), np.array(["north"] * 3000 + ["south"] * 2900 + ["tiny"] * 100)
    scores = np.where(column == "south", 0.3, 0.6) * np.random.default_rng(3).random(6000) + 0.2
    unfair = subject(column=column, scores=scores)
    both = replace(subject(column=column, scores=fair.candidate.scores), champion=unfair.candidate)
    found, alone = measured(both).columns[0], measured(unfair).columns[0]
    assert found.champion["selection_rate"].gap == alone.spreads["selection_rate"].gap
    assert found.champion["selection_rate"].gap.low > found.spreads["selection_rate"].gap.high
    # It calls nobody of the south late, so how often it is right there is not known.
    assert "precision" not in found.champion
    assert measured(unfair).columns[0].champion == {}
    page = render_page("evaluation/templates/fairness.html", fairness=view_fairness(measured(both)))
    assert page.count("the champion: gap ") == 3


def test_labels_that_are_neither_yes_nor_no_are_refused():
    given = subject()
    with pytest.raises(ContractError, match="labels must be 0 or 1"):
        measured(replace(given, labels=np.linspace(0, 9, len(given.labels))))


def test_fewer_groups_can_be_looked_at_later():
    everything = measured(subject()).columns[0].spreads["selection_rate"]
    two = everything.among(1500, 0.95)
    assert len(two.values) == 2
    assert two.difference().high <= everything.gap.high
    assert everything.among(10_000, 0.95) is None


def test_a_column_that_is_not_there_or_has_too_many_groups_is_refused():
    with pytest.raises(ContractError, match="fairness: the data lack the columns colour"):
        diagnose(Diagnostics(fairness=FairnessSpec(columns=("colour",))), subject())
    with pytest.raises(ContractError, match="the column region has 6000 groups and at most 20 are compared"):
        measured(subject(column=np.arange(6000)))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"columns": []}, "at least one column"),
        ({"columns": ["a"], "metrics": ["recall"]}, "'recall' is not accepted; expected one or more of selection_rate"),
        ({"columns": ["a"], "maximum_groups": 1}, "fairness.maximum_groups: 1 is not accepted; expected at least 2"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(wanted, message):
    with pytest.raises(SpecificationError, match=message):
        decode(FairnessSpec, wanted)


def test_the_page_shows_rates_gaps_the_four_fifths_rule_and_who_was_left_out():
    generator = np.random.default_rng(3)
    column = np.array(["north"] * 3000 + ["south"] * 2900 + ["<tiny>"] * 100)
    scores = np.where(column == "south", 0.3, 0.6) * generator.random(6000) + 0.2
    page = render_page(
        "evaluation/templates/fairness.html", fairness=view_fairness(measured(subject(column=column, scores=scores)))
    )
    assert "less than four fifths, shown by the whole interval" in page
    assert "Fewer than 200 rows, so not measured: &lt;tiny&gt; (100)" in page
    assert page.count("<svg") == 3
    assert "precision was not compared: 1 of 3 groups have enough rows and days" in page
