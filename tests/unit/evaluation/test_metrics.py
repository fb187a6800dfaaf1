"""What is measured: against scikit-learn, and what happens where nothing can be."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.metrics import Scored, compare, measure, metrics_of
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import EvaluationReport, parse_report
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")


def rows(count=2000, seed=1):
    generator = np.random.default_rng(seed)
    signal = generator.normal(size=count)
    labels = (generator.random(count) < 1 / (1 + np.exp(1 - signal))).astype(int)
    days = np.array([f"2013-04-{day:02d}" for day in generator.integers(1, 31, count)])
    origins = generator.choice(["EWR", "JFK", "XXX"], count, p=[0.5, 0.49, 0.01])
    return labels, days, 1 / (1 + np.exp(1 - signal)), origins


def test_values_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels, days, scores, _ = rows()
    found = measure(Scored(labels=labels, scores=scores, days=days), 0.95)
    assert {name: estimate.value for name, estimate in found.metrics.items()} == pytest.approx(
        {
            "roc_auc": metrics.roc_auc_score(labels, scores),
            "brier": metrics.brier_score_loss(labels, scores),
            "log_loss": metrics.log_loss(labels, scores),
            "accuracy": metrics.accuracy_score(labels, scores >= 0.5),
            "average_precision": metrics.average_precision_score(labels, scores),
            "precision": metrics.precision_score(labels, scores >= 0.5),
            "recall": metrics.recall_score(labels, scores >= 0.5),
            "f1": metrics.f1_score(labels, scores >= 0.5),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, scores >= 0.5),
            "lift": labels[np.argsort(-scores)[:200]].mean() / labels.mean(),
        },
        abs=1e-9,
    )
    assert (found.rows, found.positives, found.unmeasured) == (2000, labels.sum(), {})
    for estimate in found.metrics.values():
        assert estimate.low < estimate.value < estimate.high


def test_difference_is_candidate_minus_champion_on_the_same_rows():
    labels, days, scores, _ = rows()
    worse = np.clip(scores + np.random.default_rng(2).normal(scale=0.3, size=len(scores)), 0, 1)
    one, other = (Scored(labels=labels, scores=given, days=days) for given in (worse, scores))
    differences, missing = compare(one, other, 0.95)
    assert missing == {}
    alone = measure(one, 0.95).metrics, measure(other, 0.95).metrics
    for metric in metrics_of("classification"):
        found = differences[metric.name]
        expected = alone[0][metric.name].value - alone[1][metric.name].value
        assert found.value == pytest.approx(expected, abs=1e-12)
        # At a threshold the noise finds more of the few rows that reach it, so recall and what holds it may gain.
        if metric.name not in ("recall", "f1", "balanced_accuracy"):
            assert (found.high < 0) if metric.greater_is_better else (found.low > 0)


def test_pairing_narrows_the_difference():
    labels, days, scores, _ = rows()
    one, other = (Scored(labels=labels, scores=given, days=days) for given in (scores, scores**1.02))
    differences, _ = compare(one, other, 0.95)
    alone = measure(one, 0.95).metrics["brier"]
    assert differences["brier"].high - differences["brier"].low < 0.1 * (alone.high - alone.low)


def test_one_day_measures_only_what_needs_no_days():
    labels, _, scores, _ = rows(300)
    found = measure(Scored(labels=labels, scores=scores, days=np.zeros(300, dtype=int)), 0.95)
    assert sorted(found.metrics) == ["accuracy"]
    assert "at least two groups" in found.unmeasured["roc_auc"]


def test_one_class_has_no_area():
    _, days, scores, _ = rows(300)
    found = measure(Scored(labels=np.zeros(300, dtype=int), scores=scores, days=days), 0.95)
    assert "labels: [0] is not accepted; expected 0 and 1" in found.unmeasured["roc_auc"]
    assert "brier" in found.metrics


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([], [], "there are no rows to evaluate on"),
        ([0, 2], [0.1, 0.2], r"labels must be 0 or 1; found 0, 2\. More than two classes are not measured"),
        ([0, 1], [0.1, 1.2], "must be probabilities between 0 and 1"),
        ([0, 1], [0.1, math.nan], "must be probabilities between 0 and 1"),
    ],
)
def test_what_is_no_evaluation_is_refused(labels, scores, message):
    with pytest.raises(ContractError, match=message):
        Scored(labels=np.array(labels), scores=np.array(scores), days=np.arange(len(labels)))


def test_report_holds_slices_and_the_reference_by_day_and_survives_a_file():
    labels, days, scores, origins = rows()
    spec = EvaluationSpec(target="late", slices=("origin",))
    report = build_report(
        spec, labels=labels, days=days, candidate=scores, champion=scores**1.1, slices={"origin": origins}
    )
    assert decode(EvaluationReport, encode(report)) == report
    assert [part.value for part in report.slices] == ["EWR", "JFK"]
    assert report.small_slices == {"origin=XXX": int((origins == "XXX").sum())}
    assert sum(part.candidate.rows for part in report.slices) + report.small_slices["origin=XXX"] == 2000
    assert set(report.slices[0].differences) == {metric.name for metric in metrics_of("classification")}
    reference = report.reference
    assert (report.days, len(reference.by_day), reference.by_day[0].day) == (30, 30, "2013-04-01")
    assert sum(day.rows for day in reference.by_day) == reference.rows == 2000
    assert sum(day.label_sum for day in reference.by_day) == labels.sum()
    assert sum(day.brier_sum for day in reference.by_day) / 2000 == pytest.approx(reference.brier)
    assert reference.mean_prediction == pytest.approx(scores.mean())


def test_a_slice_says_over_how_many_days_it_spreads_and_why_a_number_is_missing():
    labels, days, scores, origins = rows()
    origins[np.isin(days, ["2013-04-01", "2013-04-02", "2013-04-03"])] = "SEA"
    labels[origins == "SEA"] = 0
    spec = EvaluationSpec(target="late", slices=("origin",), minimum_slice_rows=100)
    report = build_report(
        spec, labels=labels, days=days, candidate=scores, champion=scores**1.1, slices={"origin": origins}
    )
    parts = {part.value: part for part in report.slices}
    assert (parts["SEA"].candidate.days, parts["EWR"].candidate.days, report.candidate.days) == (3, 27, 30)
    assert "roc_auc" not in parts["SEA"].differences
    assert "each at least once" in parts["SEA"].undiffered["roc_auc"]


def test_a_candidate_that_is_bad_in_one_slice_only_is_stopped_there():
    labels, days, scores, _ = rows(20_000)
    origins = np.random.default_rng(4).choice([f"A{number:02d}" for number in range(10)], len(labels))
    candidate = np.where(origins == "A03", 1 - scores, scores)
    spec = EvaluationSpec(target="late", slices=("origin",))
    report = build_report(
        spec, labels=labels, days=days, candidate=candidate, champion=scores, slices={"origin": origins}
    )
    policy = parse_policy({"slices": [{"metric": "brier", "margin": 0.02}]})
    verdicts = {check.name: check.verdict for check in judge(report, policy) if "[origin=" in check.name}
    assert verdicts.pop("brier.non_inferiority[origin=A03]") is Verdict.FAIL
    assert set(verdicts.values()) == {Verdict.PASS}
    assert len(verdicts) == 9


def test_report_without_a_champion_has_no_differences():
    labels, days, scores, _ = rows(300)
    report = build_report(EvaluationSpec(target="late"), labels=labels, days=days, candidate=scores)
    assert (report.champion, report.differences) == (None, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oops", "report.json is not JSON"),
        ('{"targt": "late"}', r"report.json is not an evaluation report: EvaluationReport\.targt: .* 'target'"),
    ],
)
def test_report_that_is_none_is_refused(text, message):
    with pytest.raises(ContractError, match=message):
        parse_report(text)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("target", "", r"EvaluationSpec\.target: '' .* the name of the label column"),
        ("confidence", 95, r"EvaluationSpec\.confidence: 95 .* between 0 and 1"),
        ("minimum_slice_rows", 0, r"EvaluationSpec\.minimum_slice_rows: 0 .* at least 1"),
    ],
)
def test_wrong_spec_is_named(field, value, message):
    with pytest.raises(SpecificationError, match=message):
        EvaluationSpec(**{"target": "late", field: value})
