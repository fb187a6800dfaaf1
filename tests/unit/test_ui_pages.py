"""What pages say: the first thing that whoever is on call reads has to be right."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_mlops.evidence import Evidence, Origin, digest
from airflow_mlops.governance.decided import Document
from airflow_mlops.governance.flow import run_flow
from airflow_mlops.governance.overview import ModelOverview, NamedVersion, OpenApproval, RolloutUnderWay, overview
from airflow_mlops.governance.timeline import releases, timeline
from airflow_mlops.ui.view import render
from airflow_mlops.verdict import CheckResult, Verdict

NOW = 1_795_249_900.0
HOSTILE = "<script>alert('x')</script>\" onload=x"
WHO = Origin(dag_id="cd_flights", run_id="r", task_id="canary", try_number=1)
PAGE = SimpleNamespace(
    now=NOW, root="/mlops", assets="/mlops/assets", airflow="", address="/mlops/models", newer="", older="", hidden=0,
    hidden_models=0, problems=(), total=0, first=0, last=0,
)  # fmt: skip
SERVES = ModelOverview(
    name="flights",
    champion=NamedVersion(version="2", digest="", since=NOW - 7200, number=4),
    serving={"flights-v2": 100},
    since=NOW - 3600,
)
UNDER_WAY = RolloutUnderWay(
    candidate="flights-v3",
    stable="flights-v2",
    weights={"flights-v2": 75, "flights-v3": 25},
    began_at=NOW - 60,
    since=NOW - 30,
    reason="nothing speaks against it",
    number=9,
    origin=WHO,
)


def told(model: ModelOverview) -> str:
    html = render("models.html", models=(model,), page=PAGE)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_what_serves_and_since_when() -> None:
    assert "Version 2 serves since 2026-11-21 07:31:40 UTC (1 hour ago)" in told(SERVES)


def test_a_rollout_is_on_its_way() -> None:
    text = told(replace(SERVES, serving=UNDER_WAY.weights, rollout=UNDER_WAY))
    assert "Version 2 serves 75 % champion since 2026-11-21 06:31:40 UTC (2 hours ago)" in text
    assert "On its way: flights-v3 at 25 %, begun 2026-11-21 08:30:40 UTC (1 minute ago)" in text
    assert "1 rollout under way" in text


def test_traffic_that_disagrees_with_the_champion_is_told() -> None:
    text = told(replace(SERVES, serving={"flights-v3": 90, "flights-v2": 10}))
    assert "flights-v3 serves 90 %" in text
    assert "The champion is another: version 2" in text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ModelOverview(name="flights"), "Nothing serves yet No version was registered"),
        (
            ModelOverview(name="flights", challenger=NamedVersion(version="1", digest="", since=NOW, number=1)),
            "Nothing serves yet Version 1 asks to be released",
        ),
        (ModelOverview(name="flights", withheld=("promotion",)), "A DAG that you may not read decided what serves"),
        (ModelOverview(name="flights", serving={"a": 60, "b": 40}, since=NOW), "a serves no champion is recorded"),
        (replace(SERVES, looked_back_to=7), "Decisions before number 7 were not considered here"),
    ],
)
def test_what_is_not_known_is_not_guessed(model: ModelOverview, words: str) -> None:
    assert words in told(model)


def test_an_open_question_leads_to_its_form() -> None:
    asked = OpenApproval(number=3, what="Gate: too few rows", asked_at=NOW, until="tomorrow", origin=WHO)
    html = render("models.html", models=(replace(SERVES, open_approvals=(asked,)),), page=PAGE)
    assert 'href="/dags/cd_flights/runs/r/tasks/canary/required_actions" data-airflow' in html
    assert "1 approval asked for" in html


def test_nothing_that_somebody_wrote_becomes_markup() -> None:
    who = replace(WHO, dag_id=HOSTILE, run_id=HOSTILE, task_id=HOSTILE)
    check = CheckResult(name=HOSTILE, verdict=Verdict.FAIL, reason=HOSTILE, value=1.0)
    notes: dict[str, Any] = {"candidate": HOSTILE, "stable": "s", "weights": {HOSTILE: 10, "s": 90}, "reason": HOSTILE}
    references = {"candidate": {"digest": HOSTILE, "uri": HOSTILE}, HOSTILE: {"digest": "d", "partition": HOSTILE}}
    evidence = Evidence(
        decision="rollout",
        subject=HOSTILE,
        verdict=Verdict.PASS,
        checks=(check,),
        origin=who,
        decided_at=NOW,
        references=references,
        notes=notes | {"phase": "progressing", "rollout": f"x/{NOW}"},
    )
    documents = (Document(number=1, digest=digest(evidence), evidence=evidence),)
    found, model = releases(documents), overview(HOSTILE, documents, now=NOW)
    entries = timeline(documents, report_address=lambda _: "/mlops/reports/x")
    pages = (
        render("models.html", models=(model,), page=PAGE),
        render("model.html", overview=model, releases=found, page=PAGE),
        render("release.html", release=found[0], entries=entries, validations=entries, page=PAGE),
        render("compare.html", left=found[0], right=found[0], page=PAGE),
        render("run.html", flow=run_flow(HOSTILE, HOSTILE, entries), reports=(), page=PAGE),
        render("error.html", title=HOSTILE, message=HOSTILE, page=PAGE),
    )
    for html in pages:
        assert "<script>alert" not in html
        assert '" onload' not in html
        assert " style=" not in html  # which the pages' policy forbids, as it does scripts in the markup
        assert html.count("<script") == html.count('<script src="/mlops/assets/')
