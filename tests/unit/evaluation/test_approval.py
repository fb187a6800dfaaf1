"""When a person is asked, what the form says, and what the answer makes of the verdict."""

from __future__ import annotations

import pytest

from airflow_mlops.evaluation.approval import Answer, ApprovalRule, answer_check, form
from airflow_mlops.verdict import CheckResult, Verdict


def check(verdict):
    return CheckResult(name=verdict.value, verdict=verdict, reason="made up")


ADA = {"by_id": "7", "by_name": "Ada", "at": "2026-11-21T12:00:00+00:00"}


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (ApprovalRule(ask="never"), ""),
        (ApprovalRule(), "inconclusive"),
        (ApprovalRule(ask="always"), "pass warn inconclusive"),
        (ApprovalRule(allow_override=True), "fail inconclusive"),
        (ApprovalRule(ask="always", allow_override=True), "pass warn fail inconclusive"),
    ],
)
def test_who_is_asked_about_what(rule, asked):
    """An error is never asked about: there is nothing to approve."""
    assert [one.value for one in Verdict if rule.wants([check(one)])] == asked.split()
    assert [one.value for one in Verdict if rule.wants([check(Verdict.PASS), check(one)])] == asked.split()
    assert not rule.wants([])


def test_what_is_left_open_beside_a_failure_hides_no_failure():
    """The worst of both is ``inconclusive``, but the candidate has failed."""
    checks = [check(Verdict.FAIL), check(Verdict.INCONCLUSIVE)]
    assert not ApprovalRule().wants(checks)
    assert not ApprovalRule(ask="always").wants(checks)
    assert ApprovalRule(allow_override=True).wants(checks)
    assert not ApprovalRule(allow_override=True).wants([*checks, check(Verdict.ERROR)])


@pytest.mark.parametrize(
    ("judged", "verdict"),
    [
        (Verdict.PASS, Verdict.PASS),
        (Verdict.WARN, Verdict.WARN),
        (Verdict.INCONCLUSIVE, Verdict.WARN),
        (Verdict.FAIL, Verdict.WARN),
    ],
)
def test_what_an_answer_makes_of_a_verdict(judged, verdict):
    approved = answer_check(judged, Answer(approved=True, comment="small market", **ADA))
    assert approved.verdict is verdict
    assert approved.reason == (
        f"approved by Ada (id 7) at 2026-11-21T12:00:00+00:00, on a verdict of {judged.value}; comment: small market"
    )
    assert answer_check(judged, Answer(approved=False, **ADA)).verdict is Verdict.FAIL
    late = answer_check(judged, Answer(approved=False, by_id=None, by_name=None, at="then"))
    assert (late.verdict, late.reason.split(",")[0]) == (Verdict.FAIL, "nobody answered in time")


def test_the_form_shows_the_worst_first_and_what_would_decide():
    checks = [
        CheckResult(
            name="minimum_rows",
            verdict=Verdict.PASS,
            reason="enough",
            value=20_000.0,
            threshold=2000.0,
            details={"remark": "wide"},
        ),
        CheckResult(
            name="roc_auc.minimum[origin=A|B]",
            verdict=Verdict.INCONCLUSIVE,
            reason="nothing is shown",
            value=0.61,
            low=0.59,
            high=0.63,
            threshold=0.6,
            details={"more_days": 83, "more_rows": 55_334},
        ),
        CheckResult(name="brier.maximum", verdict=Verdict.FAIL, reason="missed by\nthe whole interval"),
        CheckResult(name="f1.minimum", verdict=Verdict.INCONCLUSIVE, reason="close", details={"more_rows": None}),
    ]
    text = form(
        checks,
        Verdict.INCONCLUSIVE,
        references={"candidate": "sha256:c"},
        evidence_digest="sha256:e",
        report_address="/mlops/reports/x",
        until="noon",
    )
    lines = text.splitlines()
    table = [line for line in lines if line.startswith("| ") and "---" not in line][1:]
    assert table == [
        "| brier.maximum | **fail** |  |  |  | missed by the whole interval |",
        (
            "| roc_auc.minimum[origin=A\\|B] | **inconclusive** | 0.6100 | 0.5900 to 0.6300 | 0.6000 | "
            "83 more days, some 56,000 more rows |"
        ),
        "| f1.minimum | **inconclusive** |  |  |  | no number of rows: too close to the bound |",
        "| minimum_rows | pass | 20,000 |  | 2,000 | wide |",
    ]
    assert "- candidate: `sha256:c`" in lines
    assert "- evidence: `sha256:e`" in lines
    assert lines[-1].startswith("Without an answer until noon the candidate is rejected.")


def test_a_form_stays_readable_with_hundreds_of_checks():
    checks = [CheckResult(name=f"slice {n}", verdict=Verdict.PASS, reason="good") for n in range(300)]
    text = form(checks, Verdict.PASS, references={}, evidence_digest="e", report_address="r", until="u")
    assert "260 more checks, none of them worse, are in the report." in text
    assert len(text) < 6000
