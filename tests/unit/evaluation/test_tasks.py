"""Regression and ranking: values against scikit-learn, what is refused, and what the gate makes of another task."""

from __future__ import annotations

import warnings

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.html import render_html
from airflow_mlops.evaluation.metrics import METRICS, Scored, compare, measure, metrics_of
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import EvaluationReport
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")


def regression(count=2000, noise=1.0, seed=1):
    generator = np.random.default_rng(seed)
    labels, days = 100 + 5 * generator.normal(size=count), generator.integers(0, 30, count)
    scores = labels + 0.2 + noise * generator.normal(size=count)
    return Scored(labels=labels, scores=scores, days=days, task="regression")


def ranking(noise=2.0, digits=9, seed=1, cutoff=5):
    generator = np.random.default_rng(seed)
    queries = np.repeat(np.arange(200), generator.integers(2, 12, 200))
    labels = generator.integers(0, 4, len(queries)) * (generator.random(len(queries)) < 0.5)
    scores = np.round(labels + noise * generator.normal(size=len(queries)), digits)
    return Scored(labels=labels, scores=scores, days=queries % 25, queries=queries, cutoff=cutoff, task="ranking")


def test_regression_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rows = regression()
    found = {name: one.value for name, one in measure(rows, 0.95).metrics.items()}
    assert found == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(rows.labels, rows.scores),
            "rmse": metrics.root_mean_squared_error(rows.labels, rows.scores),
            "r2": metrics.r2_score(rows.labels, rows.scores),
            "median_ae": metrics.median_absolute_error(rows.labels, rows.scores),
            "bias": abs((rows.scores - rows.labels).mean()),
        },
        abs=1e-9,
    )


@pytest.mark.parametrize("digits", [9, 0])
def test_ranking_equals_scikit_learn_ties_or_not(digits):
    metrics = pytest.importorskip("sklearn.metrics")
    rows = ranking(digits=digits)
    ndcg, average, reciprocal = [], [], []
    for query in range(200):
        labels, scores = rows.labels[rows.queries == query], rows.scores[rows.queries == query]
        ndcg.append(metrics.ndcg_score([labels], [scores], k=5))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            average.append(metrics.average_precision_score(labels > 0, scores))
        worst = min(((scores >= score).sum() for score in scores[labels > 0]), default=np.inf)
        reciprocal.append(1 / worst if worst <= 5 else 0)
    found = {name: one.value for name, one in measure(rows, 0.95).metrics.items()}
    expected = {"ndcg": np.mean(ndcg), "mrr": np.mean(reciprocal), "map": np.mean(average)}
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("make", [regression, ranking])
def test_a_worse_model_is_shown_to_be_worse_on_the_same_rows(make):
    good, bad = make(), make(noise=6.0)
    differences, missing = compare(good.scored_by(bad.scores), good, 0.95)
    assert missing == {}
    before, after = measure(good, 0.95).metrics, measure(good.scored_by(bad.scores), 0.95).metrics
    for metric in metrics_of(good.task):
        found = differences[metric.name]
        assert found.value == pytest.approx(after[metric.name].value - before[metric.name].value, abs=1e-12)
        assert metric.name == "bias" or ((found.high < 0) if metric.greater_is_better else (found.low > 0))


def test_labels_that_do_not_differ_have_no_r2():
    rows = regression()
    found = measure(Scored(labels=np.ones(2000), scores=rows.scores, days=rows.days, task="regression"), 0.95)
    assert "r2 is a share of their variance" in found.unmeasured["r2"]
    assert set(found.metrics) == {"mae", "rmse", "median_ae", "bias"}


def test_decisions_that_were_never_made_have_no_precision():
    rows = Scored(labels=np.arange(100) % 2, scores=np.full(100, 0.2), days=np.arange(100) % 10)
    found = measure(rows, 0.95)
    assert "50 rows with label 1, 50 with label 0, 0 predicted positive" in found.unmeasured["precision"]
    assert found.metrics["recall"].value == 0.0
    assert found.metrics["recall"].high > 0.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "regression", "labels": np.array(["a", "b"])}, "labels must be finite numbers"),
        ({"task": "regression", "labels": np.array([1.0, np.nan])}, "labels must be finite numbers"),
        ({"task": "ranking", "queries": None}, "name its column as group_column"),
        ({"task": "ranking", "labels": np.array([1.0, -1.0])}, "relevances of 0 or more"),
        ({"task": "classification", "labels": np.array(["a", "b"])}, "found a, b. More than two classes are not"),
    ],
)
def test_labels_that_the_task_cannot_have_are_refused(fields, message):
    two = {"labels": np.array([1.0, 0.0]), "scores": np.array([0.1, 0.2]), "days": np.arange(2), "queries": np.ones(2)}
    with pytest.raises(ContractError, match=message):
        Scored(**{**two, **fields})


def test_a_query_over_several_days_is_named():
    rows = ranking()
    found = measure(Scored(**{**vars_of(rows), "days": np.arange(len(rows.labels)) % 7}), 0.95)
    assert found.metrics == {}
    assert "queries whose rows lie in several groups" in found.unmeasured["ndcg"]


def vars_of(rows):
    return {name: getattr(rows, name) for name in ("labels", "scores", "days", "queries", "task")}


def report_of(rows, champion=None, columns=None, **spec):
    wanted = EvaluationSpec(
        target="y", task=rows.task, group_column="query" if rows.task == "ranking" else None, cutoff=5, **spec
    )
    return build_report(
        wanted,
        labels=rows.labels,
        days=rows.days,
        candidate=rows.scores,
        champion=champion,
        queries=rows.queries,
        slices=columns,
    )


@pytest.mark.parametrize("make", [regression, ranking])
def test_a_report_of_another_task_is_judged_by_its_own_metrics_and_has_no_reference(make):
    rows = make()
    report = report_of(rows, champion=make(noise=6.0).scores)
    assert decode(EvaluationReport, encode(report)) == report
    assert (report.task, report.reference, report.answers) == (rows.task, None, {})
    assert report.unreferenced == f"monitoring compares probabilities of class 1; a {rows.task} has none"
    metric = "rmse" if rows.task == "regression" else "ndcg"
    found = judge(report, parse_policy({"superiority": [{"metric": metric}], "minimum_rows": {"rows": 100}}))
    assert [(one.name, one.verdict) for one in found] == [
        ("minimum_rows", Verdict.PASS),
        (f"{metric}.superiority", Verdict.PASS),
    ]


@pytest.mark.parametrize(
    "policy",
    [
        {"absolute": [{"metric": "roc_auc", "minimum": 0.5, "severity": "warn"}]},
        {"non_inferiority": [{"metric": "roc_auc", "margin": 0.1, "severity": "warn"}]},
    ],
)
def test_a_rule_about_another_task_never_promotes_and_says_what_is_measured(policy):
    rows = regression()
    found = judge(report_of(rows, champion=rows.scores), parse_policy(policy))[-1]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == (
        "not measured: the evaluation was of the task 'regression', which does not measure roc_auc; it measures mae, "
        "rmse, r2, median_ae, bias. roc_auc belongs to 'classification'"
    )


def test_policies_may_name_the_metrics_of_every_task():
    for name, metric in METRICS.items():
        bound = "minimum" if metric.greater_is_better else "maximum"
        assert parse_policy({"absolute": [{"metric": name, bound: 0.5}]}).absolute[0].metric == name


def test_blocks_of_time_join_neighbouring_days_and_are_counted_as_days_when_more_are_wanted():
    rows = regression()
    report = report_of(rows, block="time", block_length=5)
    assert (report.days, report.candidate.days, report.block_length) == (6, 6, 5)
    value = report.candidate.metrics["mae"].value
    policy = parse_policy({"absolute": [{"metric": "mae", "maximum": value + 1e-2}], "minimum_rows": {"rows": 1}})
    found = judge(report, policy)[-1]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.details["more_days"] % 5 == 0


def test_days_that_remember_need_blocks():
    """A slow wave over the days: groups of single days take it for chance, blocks that hold it do not."""
    generator, runs, missed = np.random.default_rng(3), 200, {1: 0, 10: 0}
    for _ in range(runs):
        days = np.repeat(np.arange(120), 5)
        wave = np.repeat(np.convolve(generator.normal(size=129), np.ones(10) / 10, "valid"), 5)
        errors = wave + 0.2 * generator.normal(size=600)
        for length in missed:
            rows = Scored(labels=np.zeros(600), scores=errors, days=days // length, task="regression")
            missed[length] += METRICS["bias"].interval(rows, 0.95).low > 0
    assert missed[1] / runs > 0.3
    assert missed[10] / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5 + 0.03


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "ranking"}, r"group_column: None .* the column that names the query"),
        ({"group_column": "q"}, r"group_column: 'q' .* None but for a ranking"),
        ({"block": "time"}, r"block_length: None .* 2 or more"),
        ({"block_length": 7}, r"block_length: 7 .* None unless block is 'time'"),
        ({"slices": (("a", "b", "c"),)}, r"slices: \['a', 'b', 'c'\] .* a pair of two columns"),
        ({"slices": (("a", "a"),)}, r"slices: \['a', 'a'\] .* a pair of two columns"),
        ({"cutoff": 0}, r"cutoff: 0 .* at least 1"),
        ({"top_share": 1.0}, r"top_share: 1\.0 .* between 0 and 1"),
    ],
)
def test_wrong_spec_is_named(fields, message):
    with pytest.raises(SpecificationError, match=message):
        EvaluationSpec(target="y", **fields)


@pytest.mark.parametrize(("make", "shown", "hidden"), [(regression, "rmse", "positive"), (ranking, "ndcg", "roc_auc")])
def test_the_page_of_the_gate_shows_the_tasks_own_numbers(make, shown, hidden):
    rows = make()
    columns = {"half": np.arange(len(rows.labels)) % 2, "other": np.arange(len(rows.labels)) % 4 // 2}
    if rows.task == "ranking":
        columns = {"half": rows.queries % 2, "other": rows.queries % 4 // 2}
    report = report_of(rows, columns=columns, champion=rows.scores, slices=("half", ("half", "other")))
    policy = parse_policy({"non_inferiority": [{"metric": shown, "margin": 0.1}]})
    page = render_html(report, policy, judge(report, policy), model_name="m", judged_at="now")
    assert f"<th>{shown}</th>" in page
    assert "<td>half = 1, other = 0</td>" in page
    assert hidden not in page.split("What was measured")[0].split("</style>")[1]
