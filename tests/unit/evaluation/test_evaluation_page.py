"""The evaluation's page and the counts behind it, from made-up answers."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from airflow_mlops.codec import canonical_json, encode
from airflow_mlops.evaluation.answers import BINS, describe_answers
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.evaluation_html import render_evaluation
from airflow_mlops.evaluation.report import EvaluationReport, parse_report
from airflow_mlops.evaluation.spec import EvaluationSpec

np = pytest.importorskip("numpy", reason="answers are counted with it")

ROWS = 2000


@functools.cache
def made_up(*, champion: bool = True, seed: int = 0) -> EvaluationReport:
    random = np.random.default_rng(seed)
    truth = random.beta(2, 5, ROWS)
    labels = (random.random(ROWS) < truth).astype(int)
    place = np.array(["<b>here</b>", "there", "elsewhere"], dtype="object")[random.choice(3, ROWS, p=[0.6, 0.39, 0.01])]
    return build_report(
        EvaluationSpec(target="late", slices=("place",), threshold=0.3),
        labels=labels,
        days=np.arange(ROWS) % 20,
        candidate=truth,
        champion=(truth + 0.4 * random.random(ROWS)) / 1.4 if champion else None,
        slices={"place": place},
    )


def page(report: EvaluationReport) -> str:
    return render_evaluation(
        report, model_name="<i>flights</i>", evaluated_at="now", where="file:///r.json", digest="d"
    )


class Tags(HTMLParser):
    """Counts what a browser would fetch or run, and collects text."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def test_the_page_is_self_contained_and_everything_in_it_is_escaped() -> None:
    tags = read(page(made_up()))
    assert tags.fetched == []
    assert not {"script", "link", "iframe", "img", "i"} & set(tags.seen)
    assert "<i>flights</i>" in tags.text
    assert "place = <b>here</b>" in tags.text


def test_every_metric_stands_beside_the_champions_with_the_difference() -> None:
    report = made_up()
    html = page(report)
    for name, found in report.candidate.metrics.items():
        assert f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})" in html
        assert f"{name}: candidate minus champion on the same rows" in html
    assert report.champion is not None
    assert f"{report.champion.metrics['brier'].value:.4f}" in html


def test_parts_that_are_too_small_are_named_with_their_rows() -> None:
    report = made_up()
    assert f"place=elsewhere ({report.small_slices['place=elsewhere']} rows)" in page(report)


def test_a_first_release_has_nothing_to_compare_with() -> None:
    html = page(made_up(champion=False))
    assert "There is no champion to compare with." in html
    assert "candidate minus champion" not in html


def test_a_report_from_before_there_were_answers_is_a_page_too() -> None:
    document = json.loads(canonical_json(encode(made_up())))
    del document["answers"]
    html = page(parse_report(json.dumps(document)))
    assert "<h2>Metrics</h2>" in html
    assert "<h2>Answers</h2>" not in html


def test_a_difference_has_a_colour_only_where_it_is_shown() -> None:
    report = made_up()
    brier = report.differences["brier"]
    for low, high, colour in ((-0.2, -0.1, "pass"), (-0.1, 0.1, "new"), (0.1, 0.2, "fail")):
        changed = replace(brier, value=(low + high) / 2, low=low, high=high)
        html = page(replace(report, differences={"brier": changed}, slices=()))
        picture = html[html.index("brier: candidate minus champion on the same rows") :]
        assert re.search(r'<circle[^>]*fill="var\(--(\w+),', picture)[1] == colour  # type: ignore[index]


def test_counts_add_up_and_survive_the_file() -> None:
    report = made_up()
    again = parse_report(canonical_json(encode(report)))
    for answers in (report.answers["candidate"], again.answers["candidate"]):
        counts = answers.confusion
        assert counts.true_positives + counts.false_negatives == sum(answers.positives) == report.candidate.positives
        assert counts.false_positives + counts.true_negatives == sum(answers.negatives)
        assert len(answers.positives) == len(answers.negatives) == BINS
    accuracy = report.candidate.metrics["accuracy"].value
    right = report.answers["candidate"].confusion
    assert (right.true_positives + right.true_negatives) / ROWS == pytest.approx(accuracy)


def test_the_roc_curve_is_the_one_that_the_area_belongs_to() -> None:
    report = made_up()
    curve = report.answers["candidate"].roc
    assert [curve[0], curve[-1]] == [(0, 0), (1, 1)]
    assert len(curve) <= 64
    false, true = (np.array(one) for one in zip(*curve, strict=True))
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(report.candidate.metrics["roc_auc"].value, abs=0.005)


@pytest.mark.parametrize("label", [0, 1])
def test_answers_about_one_label_have_no_curve(label: int) -> None:
    found = describe_answers(np.full(5, label), np.linspace(0, 1, 5), 0.5)
    assert found.roc == ()
    assert sum(found.positives) == 5 * label


def test_a_regression_has_no_positives_and_no_confusion_but_pairs_of_columns() -> None:
    random = np.random.default_rng(1)
    truth, place = random.normal(size=ROWS), random.choice(["a", "b"], ROWS)
    report = build_report(
        EvaluationSpec(target="delay", task="regression", slices=("place", ("place", "side"))),
        labels=truth + random.normal(size=ROWS),
        days=np.arange(ROWS) % 20,
        candidate=truth,
        slices={"place": place, "side": np.where(truth > 0, "<up>", "down")},
    )
    assert report.answers == {}
    text = read(page(report)).text
    assert "positive" not in text
    assert "<h2>Answers" not in page(report)
    assert "place=a, side=<up>" in text
    assert "rmse less is better" in " ".join(text.split())
