"""The gate's rules, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.html import render_html
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import DayReference, Estimate, EvaluationReport, Measurements, Reference
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.verdict import CheckResult, Verdict, combine

AUC = {"metric": "roc_auc", "minimum": 0.6}
POLICY = {
    "minimum_rows": {"rows": 1000, "positives": 100},
    "absolute": [AUC, {"metric": "brier", "maximum": 0.2}],
    "non_inferiority": [{"metric": "roc_auc", "margin": 0.01}, {"metric": "brier", "margin": 0.005}],
}


def estimate(value, reach):
    return Estimate(value=value, low=value - reach, high=value + reach, method="made up")


def report(*, auc=(0.70, 0.02), brier=(0.15, 0.01), auc_change=(0.0, 0.005), brier_change=(0.0, 0.002), **changes):
    measured = Measurements(
        rows=changes.pop("rows", 20_000),
        positives=changes.pop("positives", 5_000),
        metrics={"roc_auc": estimate(*auc), "brier": estimate(*brier)},
    )
    values = {
        "target": "late",
        "confidence": 0.95,
        "days": 30,
        "candidate": measured,
        "champion": measured,
        "differences": {"roc_auc": estimate(*auc_change), "brier": estimate(*brier_change)},
        "reference": Reference(
            rows=1,
            label_rate=0.2,
            mean_prediction=0.2,
            brier=0.1,
            by_day=(DayReference(day="d", rows=1, label_sum=0, prediction_sum=0.1, brier_sum=0.0),),
        ),
    }
    return EvaluationReport(**{**values, **changes})


def verdicts(found, policy=None):
    return {check.name: check.verdict for check in judge(found, parse_policy(policy or POLICY))}


def reason(found, name, policy=None):
    return next(check.reason for check in judge(found, parse_policy(policy or POLICY)) if check.name == name)


def test_good_candidate_passes_every_rule():
    checks = judge(report(), parse_policy(POLICY))
    assert combine(checks) is Verdict.PASS
    assert [check.name for check in checks] == [
        "minimum_rows",
        "minimum_positives",
        "minimum_negatives",
        "roc_auc.minimum",
        "brier.maximum",
        "roc_auc.non_inferiority",
        "brier.non_inferiority",
    ]
    (auc,) = [check for check in checks if check.name == "roc_auc.minimum"]
    assert (auc.value, auc.low, auc.high, auc.threshold, auc.sample_size) == pytest.approx(
        (0.7, 0.68, 0.72, 0.6, 20_000)
    )


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({"auc": (0.61, 0.02)}, "roc_auc.minimum", Verdict.INCONCLUSIVE),
        ({"auc": (0.59, 0.02)}, "roc_auc.minimum", Verdict.INCONCLUSIVE),
        ({"auc": (0.57, 0.02)}, "roc_auc.minimum", Verdict.FAIL),
        ({"brier": (0.195, 0.01)}, "brier.maximum", Verdict.INCONCLUSIVE),
        ({"brier": (0.22, 0.01)}, "brier.maximum", Verdict.FAIL),
        ({"auc_change": (0.02, 0.005)}, "roc_auc.non_inferiority", Verdict.PASS),
        ({"auc_change": (-0.004, 0.003)}, "roc_auc.non_inferiority", Verdict.WARN),
        ({"auc_change": (-0.008, 0.003)}, "roc_auc.non_inferiority", Verdict.INCONCLUSIVE),
        ({"auc_change": (-0.02, 0.003)}, "roc_auc.non_inferiority", Verdict.FAIL),
        ({"brier_change": (-0.02, 0.003)}, "brier.non_inferiority", Verdict.PASS),
        ({"brier_change": (0.002, 0.001)}, "brier.non_inferiority", Verdict.WARN),
        ({"brier_change": (0.004, 0.002)}, "brier.non_inferiority", Verdict.INCONCLUSIVE),
        ({"brier_change": (0.02, 0.003)}, "brier.non_inferiority", Verdict.FAIL),
        ({"rows": 900, "positives": 400}, "minimum_rows", Verdict.INCONCLUSIVE),
        ({"positives": 50}, "minimum_positives", Verdict.INCONCLUSIVE),
        ({"positives": 19_950}, "minimum_negatives", Verdict.INCONCLUSIVE),
    ],
)
def test_one_number_decides_one_rule(changes, name, verdict):
    found = verdicts(report(**changes))
    assert found.pop(name) is verdict
    assert set(found.values()) == {Verdict.PASS}


def test_reasons_hold_the_numbers():
    assert reason(report(auc=(0.57, 0.02)), "roc_auc.minimum") == (
        "roc_auc 0.5700 (95 % interval 0.5500 to 0.5900); minimum 0.6: missed by the whole interval"
    )
    assert reason(report(auc_change=(-0.02, 0.003)), "roc_auc.non_inferiority") == (
        "roc_auc -0.0200 (95 % interval -0.0230 to -0.0170) against the champion; margin -0.01: "
        "worse by more than the margin"
    )
    assert reason(report(rows=900), "minimum_rows") == "900 rows; the policy asks for 1,000, 100 more"


def test_inconclusive_says_how_many_days_would_decide():
    """The interval must reach half as far: not quite four times the 30 days, as Student's distribution narrows too."""
    found = judge(report(auc=(0.61, 0.02)), parse_policy(POLICY))
    (check,) = [one for one in found if one.verdict is Verdict.INCONCLUSIVE]
    assert check.reason.endswith(
        "lies inside the interval, so nothing is shown; about 83 more days like these, some 56,000 rows, "
        "would decide if the value stays as it is"
    )
    assert (check.details["more_days"], check.details["more_rows"]) == (83, 55_334)
    assert check.details["detectable_difference"] == pytest.approx(0.02 * (1 + 0.8542 / 2.0452), rel=1e-4)
    assert reason(report(auc=(0.6001, 0.02)), "roc_auc.minimum").endswith("no number of rows would decide")


def test_where_days_do_not_count_it_says_how_many_rows():
    policy = {"non_inferiority": [{"metric": "accuracy", "margin": 0.02}]}
    found = report(differences={"accuracy": estimate(0.0, 0.03)}, rows=2000, positives=500)
    assert reason(found, "accuracy.non_inferiority", policy).endswith(
        "so nothing is shown; about 2,500 more rows like these would decide if the difference stays as it is"
    )


def test_so_many_more_rows_do_decide():
    """What is promised of a mean over days, done: the same differences, seen on as many days as were asked for."""
    np = pytest.importorskip("numpy")
    days = np.random.default_rng(8).normal(0.001, 0.02, 30)

    def found(values):
        mean = cluster_mean(values, np.arange(len(values)))
        one = Estimate(value=mean.value, low=mean.low, high=mean.high, method="made up")
        return report(differences={"brier": one}, days=len(values), rows=100 * len(values), positives=1500)

    policy = parse_policy({"non_inferiority": [{"metric": "brier", "margin": 0.005}]})
    before = judge(found(days), policy)[-1]
    assert before.verdict is Verdict.INCONCLUSIVE
    wanted = 30 + before.details["more_days"]
    after = judge(found(_alike(np, days, wanted)), policy)[-1]
    assert after.verdict is Verdict.PASS
    fewer = judge(found(_alike(np, days, wanted - 3)), policy)[-1]
    assert fewer.verdict is Verdict.INCONCLUSIVE


def _alike(np, values, count):
    """As many values with the same mean and the same standard deviation."""
    made = np.linspace(-1, 1, count)
    return values.mean() + made / made.std(ddof=1) * values.std(ddof=1)


IMPROVE = {"superiority": [{"metric": "roc_auc", "margin": 0.005}, {"metric": "brier"}]}


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ((0.02, 0.005), "roc_auc.superiority", Verdict.PASS),
        ((0.008, 0.005), "roc_auc.superiority", Verdict.INCONCLUSIVE),
        ((-0.002, 0.005), "roc_auc.superiority", Verdict.FAIL),
        ((0.0, 0.0), "roc_auc.superiority", Verdict.FAIL),
        ((-0.01, 0.005), "brier.superiority", Verdict.PASS),
        ((-0.004, 0.005), "brier.superiority", Verdict.INCONCLUSIVE),
        ((0.01, 0.005), "brier.superiority", Verdict.FAIL),
        ((0.0, 0.0), "brier.superiority", Verdict.FAIL),
    ],
)
def test_an_improvement_that_is_asked_for_must_be_shown(change, name, verdict):
    given = {"auc_change": change} if name.startswith("roc_auc") else {"brier_change": change}
    assert verdicts(report(**given), IMPROVE)[name] is verdict


def test_a_margin_of_nothing_has_no_sign():
    assert "; margin +0: better" in reason(report(brier_change=(-0.01, 0.005)), "brier.superiority", IMPROVE)


def test_an_improvement_on_nothing_is_a_first_release():
    found = verdicts(report(champion=None, differences={}), IMPROVE)
    assert (found["roc_auc.superiority"], found["brier.superiority"]) == (Verdict.WARN, Verdict.WARN)


LENIENT = {
    "absolute": [{**AUC, "severity": "warn"}],
    "non_inferiority": [{"metric": "brier", "margin": 0.005, "severity": "warn"}],
    "superiority": [{"metric": "roc_auc", "severity": "warn"}],
}


@pytest.mark.parametrize(
    ("changes", "name", "was"),
    [
        ({"auc": (0.5, 0.01)}, "roc_auc.minimum", "fail"),
        ({"auc": (0.6, 0.01)}, "roc_auc.minimum", "inconclusive"),
        ({"brier_change": (0.02, 0.003)}, "brier.non_inferiority", "fail"),
        ({"auc_change": (-0.02, 0.003)}, "roc_auc.superiority", "fail"),
    ],
)
def test_a_rule_that_only_warns_stops_nobody_and_says_so(changes, name, was):
    checks = judge(report(**{"auc_change": (0.02, 0.001), **changes}), parse_policy(LENIENT))
    assert combine(checks) is Verdict.WARN
    (check,) = [one for one in checks if one.verdict is Verdict.WARN]
    assert (check.name, check.details["unsoftened"]) == (name, was)
    assert check.reason.endswith("(a warning only, as the policy says)")


def test_a_number_that_is_missing_stops_whatever_the_severity():
    measured = Measurements(rows=20_000, positives=5_000, metrics={})
    checks = judge(report(candidate=measured, differences={}), parse_policy(LENIENT))
    assert [one.verdict for one in checks[3:]] == [Verdict.INCONCLUSIVE] * 3


def test_first_release_has_nothing_to_compare_with():
    found = judge(report(champion=None, differences={}), parse_policy(POLICY))
    assert combine(found) is Verdict.WARN
    assert {check.reason for check in found if check.verdict is Verdict.WARN} == {
        "first release: no champion to compare with"
    }


def test_what_was_not_measured_does_not_pass():
    measured = Measurements(rows=20_000, positives=5_000, metrics={}, unmeasured={"roc_auc": "only one day"})
    found = judge(
        report(candidate=measured, undiffered={"roc_auc": "only one day"}, differences={}), parse_policy(POLICY)
    )
    assert combine(found) is Verdict.INCONCLUSIVE
    assert [check.reason for check in found if check.verdict is Verdict.INCONCLUSIVE] == [
        "not measured: only one day",
        "not measured: the evaluation holds no such number",
        "not measured: only one day",
        "not measured: the evaluation holds no such number",
    ]


def test_intervals_of_another_confidence_are_not_judged():
    (check,) = judge(report(confidence=0.8), parse_policy(POLICY))
    assert check.verdict is Verdict.ERROR
    assert check.reason == "the evaluation's intervals cover 0.8, but the policy asks for 0.95"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            {},
            r"policy: .no rules. .* one rule under absolute, non_inferiority, superiority, slices",
        ),
        ({"absolut": [AUC]}, r"policy\.absolut: .* no such field; did you mean 'absolute'\?"),
        ({"absolute": [{**AUC, "minimun": 1}]}, r"policy\.absolute\[0\]\.minimun: .* did you mean 'minimum'\?"),
        ({"absolute": [{"metric": "auc", "minimum": 0.6}]}, r"absolute\.metric: 'auc' .* one of roc_auc, brier"),
        (
            {"absolute": [{"metric": "roc_auc"}]},
            r"absolute\[roc_auc\]: \(None, None\) .* either a minimum or a maximum",
        ),
        ({"absolute": [{"metric": "roc_auc", "maximum": 1.0}]}, r"absolute\[roc_auc\]: .* expected a minimum"),
        ({"absolute": [{"metric": "brier", "minimum": 0.1}]}, r"absolute\[brier\]: .* expected a maximum"),
        ({"absolute": [AUC, AUC]}, r"policy\.absolute: 'roc_auc' .* each metric at most once"),
        ({"absolute": [{**AUC, "minimum": "0.6"}]}, r"policy\.absolute\[0\]\.minimum: '0\.6' .* a finite number"),
        ({"non_inferiority": [{"metric": "brier", "margin": 0}]}, r"non_inferiority\[brier\]\.margin: 0\.0 .* above 0"),
        ({"absolute": [AUC], "minimum_rows": {"row": 9}}, r"policy\.minimum_rows\.row: .* did you mean 'rows'\?"),
        ({"absolute": [{**AUC, "severty": "warn"}]}, r"policy\.absolute\[0\]\.severty: .* did you mean 'severity'\?"),
        ({"absolute": [{**AUC, "severity": "warning"}]}, r"severity: 'warning' .* one of 'fail', 'warn'"),
        ({"superiority": [{"metric": "brier", "margin": -1}]}, r"superiority\[brier\]\.margin: -1\.0 .* 0 or a number"),
        ({"superiority": [{"metric": "auc"}]}, r"superiority\.metric: 'auc' .* one of roc_auc"),
        ({"superiority": [{"metric": "brier"}] * 2}, r"policy\.superiority: 'brier' .* each metric at most once"),
        ({"absolute": [AUC], "minimum_rows": {"rows": 0}}, r"minimum_rows\.rows: 0 .* at least 1"),
        ({"absolute": [AUC], "confidence": 95}, r"policy\.confidence: 95\.0 .* between 0 and 1"),
        ({"absolute": [AUC], "policy_version": 2}, r"policy\.policy_version: 2 .* expected 1"),
    ],
)
def test_wrong_policy_is_named(policy, message):
    with pytest.raises(SpecificationError, match=message):
        parse_policy(policy)


@pytest.mark.parametrize("champion", [True, False])
def test_page_shows_every_judgement_and_escapes_what_it_shows(champion):
    found = report() if champion else report(champion=None, differences={})
    policy = parse_policy(POLICY)
    page = render_html(found, policy, judge(found, policy), model_name="<b>flights</b>", judged_at="2013-04-01")
    assert "&lt;b&gt;flights&lt;/b&gt;" in page
    assert "<b>flights" not in page
    for check in judge(found, policy):
        assert check.reason in page
    assert digest_of(encode(policy)) in page
    assert "http" not in page
    assert "<script" not in page


def test_the_page_says_what_a_person_is_asked_and_what_they_answered():
    policy = parse_policy(POLICY)
    checks = judge(report(auc=(0.61, 0.02)), policy)

    def page(**more):
        return render_html(report(), policy, checks, model_name="m", judged_at="now", **more)

    asks = {"until": "noon", "assigned_users": [{"id": "7", "name": "Ada <a>"}]}
    assert "Too little was shown to decide" in page()
    assert "Ada &lt;a&gt; can approve or reject the candidate until noon" in page(asks=asks)
    assert "A person decides whether the candidate goes on." in page(asks=asks)
    answer = CheckResult(name="approval", verdict=Verdict.WARN, reason="approved by Ada")
    approved = page(asks=asks, answer=answer)
    assert "The candidate may go on: a person approved it." in approved
    assert "own verdict was inconclusive" in approved
    assert "until noon" not in approved
    assert "The candidate does not go on." in page(asks=asks, answer=replace(answer, verdict=Verdict.FAIL))


def test_the_page_of_a_failure_beside_something_open_says_so_and_shows_the_failure_first():
    found, policy = report(auc=(0.57, 0.02), brier=(0.195, 0.01)), parse_policy(POLICY)
    page = render_html(found, policy, judge(found, policy), model_name="m", judged_at="now")
    assert "The candidate is not good enough by some rules, and by others too little was shown." in page
    assert page.index("missed by the whole interval") < page.index("so nothing is shown")


def test_a_page_needs_no_evaluation():
    check = CheckResult(name="evaluation", verdict=Verdict.ERROR, reason="the content changed")
    page = render_html(None, parse_policy(POLICY), [check], model_name="m", judged_at="now")
    assert "The candidate could not be judged." in page
    assert "the content changed" in page
    assert "What was measured" not in page
