"""Rules about every part of the data."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest

from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.html import render_html
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import Estimate, EvaluationReport, Measurements, Reference, SliceReport
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict, combine

RULE = {"metric": "roc_auc", "margin": 0.02}
REFERENCE = Reference(rows=1, label_rate=0.2, mean_prediction=0.2, brier=0.1, by_day=())
WHOLE = Measurements(rows=20_000, positives=5_000, metrics={}, days=30)


def part(name, change=0.0, reach=0.005, *, rows=1000, days=30, column="origin", metric="roc_auc", value=0.7):
    one = Estimate(value=change, low=change - reach, high=change + reach, method="made up")
    level = Estimate(value=value, low=value - reach, high=value + reach, method="made up")
    measured = Measurements(rows=rows, positives=200, metrics={metric: level}, days=days)
    return SliceReport(column=column, value=name, candidate=measured, differences={metric: one})


def report(*parts, small=None, champion=True):
    return EvaluationReport(
        target="late",
        confidence=0.95,
        days=30,
        candidate=WHOLE,
        champion=WHOLE if champion else None,
        reference=REFERENCE,
        slices=parts,
        small_slices=small or {},
    )


def judged(found, **rule):
    checks = judge(found, parse_policy({"slices": [{**RULE, **rule}]}))
    return {check.name: check for check in checks[3:]}


def verdicts(found, **rule):
    return {name: check.verdict for name, check in judged(found, **rule).items()}


def test_each_slice_is_a_check_and_the_last_says_that_all_were_judged():
    found = judged(report(part("EWR"), part("JFK", -0.004)))
    assert list(found) == [
        "roc_auc.non_inferiority[origin=EWR]",
        "roc_auc.non_inferiority[origin=JFK]",
        "roc_auc.non_inferiority[slices]",
    ]
    assert {check.verdict for check in found.values()} == {Verdict.PASS}
    assert found["roc_auc.non_inferiority[origin=JFK]"].reason == (
        "roc_auc -0.0040 (95 % interval -0.0090 to +0.0010) against the champion in origin=JFK; margin -0.02: "
        "good enough, shown by the whole interval"
    )
    assert found["roc_auc.non_inferiority[slices]"].reason == (
        "2 of 2 slices have the 200 rows and the number to be judged by"
    )


@pytest.mark.parametrize(
    ("rule", "given", "verdict"),
    [
        (RULE, part("EWR", -0.05), Verdict.FAIL),
        (RULE, part("EWR", -0.018), Verdict.INCONCLUSIVE),
        ({"metric": "brier", "margin": 0.01}, part("EWR", 0.05, metric="brier"), Verdict.FAIL),
        ({"metric": "brier", "margin": 0.01}, part("EWR", -0.05, metric="brier"), Verdict.PASS),
        ({"metric": "roc_auc", "minimum": 0.6}, part("EWR", value=0.7), Verdict.PASS),
        ({"metric": "roc_auc", "minimum": 0.6}, part("EWR", value=0.5), Verdict.FAIL),
        ({"metric": "brier", "maximum": 0.2}, part("EWR", metric="brier", value=0.5), Verdict.FAIL),
        ({"metric": "brier", "maximum": 0.2}, part("EWR", metric="brier", value=0.1), Verdict.PASS),
        ({"metric": "accuracy", "margin": 0.02}, part("EWR", -0.05, metric="accuracy", days=None), Verdict.FAIL),
    ],
)
@pytest.mark.parametrize("correction", ["holm", "benjamini_hochberg", "none"])
def test_a_single_slice_is_judged_by_its_interval_whatever_the_correction(rule, given, verdict, correction):
    checks = judge(report(given), parse_policy({"slices": [{**rule, "correction": correction}]}))
    assert checks[3].verdict is verdict


def test_among_thirty_slices_one_that_looks_worse_by_chance_is_no_failure():
    """Its own interval lies beyond the margin, by itself; among thirty that happens every other time."""
    parts = [part(str(number)) for number in range(29)]
    unlucky = part("unlucky", -0.0255, 0.005)
    name = "roc_auc.non_inferiority[origin=unlucky]"
    assert verdicts(report(*parts, unlucky), correction="none")[name] is Verdict.FAIL
    found = judged(report(*parts, unlucky))[name]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "neither good enough nor worse is shown, by Holm's correction over 30 slices; about" in found.reason
    assert found.details["adjusted_p_value"] == pytest.approx(30 * found.details["p_value"])
    assert found.details["more_days"] > 0
    assert "rows of origin=unlucky, would decide if the difference stays as it is" in found.reason


def test_what_is_much_worse_fails_among_any_number():
    parts = [part(str(number)) for number in range(29)]
    found = judged(report(*parts, part("bad", -0.04, 0.005)))
    assert found["roc_auc.non_inferiority[origin=bad]"].verdict is Verdict.FAIL
    assert "worse than that is shown, by Holm's correction over 30 slices" in (
        found["roc_auc.non_inferiority[origin=bad]"].reason
    )


def test_where_many_slices_are_worse_benjamini_hochberg_finds_those_that_holm_does_not():
    parts = [part(str(number), -0.027, 0.005) for number in range(20)]
    holm, other = (verdicts(report(*parts), correction=name) for name in ("holm", "benjamini_hochberg"))
    assert list(holm.values())[:20] == [Verdict.INCONCLUSIVE] * 20
    assert list(other.values())[:20] == [Verdict.FAIL] * 20


def test_a_slice_over_few_days_must_be_much_worse():
    """The same interval over three days says less in its tails than over thirty."""
    for days, verdict in ((30, Verdict.FAIL), (3, Verdict.INCONCLUSIVE)):
        parts = [part(str(number), days=days) for number in range(9)]
        found = verdicts(report(*parts, part("bad", -0.03, 0.005, days=days)))
        assert found["roc_auc.non_inferiority[origin=bad]"] is verdict


def test_slices_that_are_not_shown_to_be_worse_may_pass_with_a_warning():
    found = judged(report(part("EWR", -0.018)), undecided="warn")["roc_auc.non_inferiority[origin=EWR]"]
    assert found.verdict is Verdict.WARN
    assert found.details["unsoftened"] == "inconclusive"
    assert verdicts(report(part("EWR", -0.05)), undecided="warn")["roc_auc.non_inferiority[origin=EWR]"] is Verdict.FAIL


def test_severity_makes_a_worse_slice_a_warning():
    found = judge(report(part("EWR", -0.05)), parse_policy({"slices": [{**RULE, "severity": "warn"}]}))
    assert combine(found) is Verdict.WARN


SMALL = {"origin=XXX": 12}
NO_AREA = replace(part("YYY", rows=800), differences={}, undiffered={"roc_auc": "only one class"})


@pytest.mark.parametrize(("little", "verdict"), [("inconclusive", Verdict.INCONCLUSIVE), ("ignore", Verdict.PASS)])
def test_too_little_data_never_passes_silently(little, verdict):
    given = report(part("EWR"), part("JFK", -0.5, rows=300), NO_AREA, small=SMALL)
    found = judged(given, min_rows=500, too_little_data=little)
    assert "roc_auc.non_inferiority[origin=JFK]" not in found
    coverage = found["roc_auc.non_inferiority[slices]"]
    assert coverage.verdict is verdict
    assert coverage.reason == (
        "1 of 4 slices have the 500 rows and the number to be judged by; "
        f"{'left out, as the policy says' if little == 'ignore' else 'too little data'}: "
        "origin=JFK (300 rows), origin=YYY (800 rows, but only one class), origin=XXX (12 rows)"
    )


@pytest.mark.parametrize("severity", ["fail", "warn"])
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            report(),
            "not measured: the evaluation has no slices; name columns under 'slices' of the task that evaluates",
        ),
        (report(small=SMALL), "0 of 1 slices have the 200 rows"),
        (report(part("EWR", rows=100)), "0 of 1 slices have the 200 rows"),
    ],
)
def test_a_rule_that_judged_no_slice_never_promotes(given, reason, severity):
    found = judged(given, too_little_data="ignore", severity=severity)["roc_auc.non_inferiority[slices]"]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith(reason)


def test_what_the_evaluation_left_out_by_itself_is_not_ignored():
    found = judged(report(part("EWR"), small={"origin=XXX": 150}), min_rows=100, too_little_data="ignore")
    assert found["roc_auc.non_inferiority[slices]"].verdict is Verdict.INCONCLUSIVE
    assert "not measured: origin=XXX (150 rows, which is fewer than the evaluation measures)" in (
        found["roc_auc.non_inferiority[slices]"].reason
    )


def test_an_old_report_without_days_is_judged_only_without_a_correction():
    given = report(part("EWR", days=None))
    assert verdicts(given)["roc_auc.non_inferiority[slices]"] is Verdict.INCONCLUSIVE
    assert set(verdicts(given, correction="none").values()) == {Verdict.PASS}


def test_columns_choose_slices_and_an_unknown_one_is_not_passed_over():
    given = report(part("EWR"), part("AA", -0.5, column="carrier"), small={"carrier=ZZ": 3, "origin=XXX": 4})
    found = judged(given, columns=["origin"], too_little_data="ignore")
    assert list(found) == ["roc_auc.non_inferiority[origin=EWR]", "roc_auc.non_inferiority[slices]"]
    assert "carrier" not in found["roc_auc.non_inferiority[slices]"].reason
    missing = judged(given, columns=["origin", "dest"], too_little_data="ignore")["roc_auc.non_inferiority[slices]"]
    assert missing.verdict is Verdict.INCONCLUSIVE
    assert "dest (the evaluation has no slices by this column)" in missing.reason


def test_without_a_champion_margins_wait_and_bounds_do_not():
    given = report(part("EWR", value=0.5), champion=False)
    assert verdicts(given) == {"roc_auc.non_inferiority[slices]": Verdict.WARN}
    found = verdicts(given, margin=None, minimum=0.6)
    assert found["roc_auc.minimum[origin=EWR]"] is Verdict.FAIL


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"metric": "roc_auc"}, r"slices\[roc_auc\]: None .* one of margin, minimum and maximum"),
        ({**RULE, "minimum": 0.5}, r"slices\[roc_auc\]: 'margin, minimum' .* one of margin, minimum and maximum"),
        ({**RULE, "margin": 0}, r"slices\[roc_auc\]\.margin: 0\.0 .* above 0"),
        ({"metric": "roc_auc", "maximum": 0.5}, r"slices\[roc_auc\]: .* a minimum"),
        ({"metric": "auc", "margin": 0.1}, r"slices\.metric: 'auc' .* one of roc_auc"),
        ({**RULE, "min_rows": 0}, r"slices\[roc_auc\]\.min_rows: 0 .* at least 1"),
        ({**RULE, "correction": "bonferroni"}, r"correction: 'bonferroni' .* one of 'holm', 'benjamini_hochberg'"),
        ({**RULE, "corection": "holm"}, r"policy\.slices\[0\]\.corection: .* did you mean 'correction'\?"),
        ({**RULE, "columns": "origin"}, r"policy\.slices\[0\]\.columns: 'origin' .* a list"),
        ({**RULE, "undecided": "pass"}, r"undecided: 'pass' .* one of 'inconclusive', 'warn'"),
    ],
)
def test_wrong_rule_is_named(rule, message):
    with pytest.raises(SpecificationError, match=message):
        parse_policy({"slices": [rule]})


def test_the_same_rule_twice_is_refused_and_a_bound_beside_a_margin_is_not():
    with pytest.raises(SpecificationError, match=r"policy\.slices: 'roc_auc' .* each metric at most once"):
        parse_policy({"slices": [RULE, RULE]})
    assert len(parse_policy({"slices": [RULE, {"metric": "roc_auc", "minimum": 0.5}]}).slices) == 2


def test_page_shows_every_slice_and_makes_room_for_the_one_that_matters():
    policy = parse_policy({"slices": [RULE]})
    parts = [part(f"<{number}>") for number in range(29)]
    given = report(*parts, part("bad", -0.021, 0.005))
    checks = judge(given, policy)
    page = render_html(given, policy, checks, model_name="m", judged_at="now")
    bad = next(check for check in checks if check.name.endswith("[origin=bad]"))
    assert html.escape(bad.reason).replace("&#x27;", "&#39;") in page
    assert "more days like these, some" in bad.reason
    assert page.count('class="card') == 5  # three about rows, the slice that is undecided, and how many were judged
    assert "29 judgements about parts of the data, all passed" in page
    assert page.count("<td>origin=&lt;") == 29
    assert f"a truth {bad.details['detectable_difference']:.2g} away from a bound in four cases of five" in page
