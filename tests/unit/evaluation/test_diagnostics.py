"""Calibration, robustness, budgets, leakage and freshness together: from the specification to gate and page."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Diagnostics, DiagnosticsReport, Subject, diagnose
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.evaluation_html import render_evaluation
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict, combine

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas", reason="rows are a pandas frame; pandas is no dependency of the domain")
pytest.importorskip("scipy")

WANTED = {
    "calibration": {"simulations": 300},
    "robustness": {"noise": [0.1, 0.5]},
    "budgets": {"batches": [1, 100], "repetitions": 100},
    "leakage": {"entities": ["customer"], "time_column": "day", "known_afterwards": ["outcome"]},
    "freshness": {"time_column": "day", "now": "2013-03-02"},
}
POLICY = {
    "calibration": {"maximum_error": 0.05},
    "robustness": {"noise": {"maximum_flips": 0.2}, "swaps": {"maximum_loss": {"brier": 0.05}}},
    "budgets": {"maximum_p95_ms": {"1": 10_000}, "maximum_bytes": 1000},
    "leakage": {"maximum_row_overlap": 0.0, "maximum_feature_power": 0.95, "forbid_late_columns": True},
    "freshness": {"maximum_evaluation_days": 10},
}


def frame(seed, month):
    generator = np.random.default_rng(seed)
    rows = 3000
    x, code = generator.normal(size=rows), generator.choice(["<b>", "c"], rows)
    return pd.DataFrame(
        {
            "x": x,
            "code": code,
            "customer": generator.integers(0, 50, rows),
            "day": [f"2013-{month:02d}-{day:02d}" for day in generator.integers(1, 29, rows)],
            "late": (generator.random(rows) < predict({"x": pd.Series(x), "code": pd.Series(code)})).astype(int),
        }
    )


def predict(rows):
    return 1 / (1 + np.exp(-rows["x"].fillna(0) - 0.5 * (rows["code"] == "c"))).to_numpy()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """An evaluation with every section of ours, read back from its file."""
    folder, rows = tmp_path_factory.mktemp("model"), frame(1, 2)
    (folder / "MLmodel").write_text("flavors: {}")
    model = Diagnosed(predict=predict, scores=predict(rows), features={"x": "double", "code": "string"}, path=folder)
    subject = Subject(
        rows=rows,
        target="late",
        labels=rows["late"].to_numpy(),
        days=rows["day"].to_numpy(),
        candidate=model,
        champion=model,
        training_rows=frame(2, 1),
    )
    wanted = decode(Diagnostics, WANTED, where="diagnostics")
    spec = EvaluationSpec(target="late", day_column="day", diagnostics=wanted)
    found = build_report(
        spec,
        labels=subject.labels,
        days=subject.days,
        candidate=model.scores,
        champion=model.scores,
        diagnostics=diagnose(wanted, subject),
    )
    return parse_report(canonical_json(encode(found)))


def test_a_good_candidate_passes_the_gate(report):
    checks = judge(report, parse_policy(POLICY))
    assert [check.name for check in checks if check.verdict is not Verdict.PASS] == []
    assert combine(checks) is Verdict.PASS
    assert {check.name.split(".")[0] for check in checks} >= set(WANTED)


@pytest.mark.parametrize("section", list(POLICY))
def test_a_section_that_the_evaluation_lacks_stops_the_candidate(report, section):
    bare = decode(type(report), {**encode(report), "diagnostics": None})
    checks = judge(bare, parse_policy({section: POLICY[section]}))
    assert combine(checks) is Verdict.INCONCLUSIVE
    assert any(f"add the section '{section}'" in check.reason or "'robustness: {" in check.reason for check in checks)


def test_reports_stay_small_and_hold_no_rows(report):
    text = canonical_json(encode(report.diagnostics))
    assert len(text) < 20_000
    assert "<b>" not in text
    assert decode(DiagnosticsReport, json.loads(text)) == report.diagnostics


@pytest.mark.parametrize("section", list(POLICY))
def test_an_unknown_key_is_named_with_the_nearest_known_one(section):
    known = next(iter(POLICY[section]))
    with pytest.raises(SpecificationError, match=rf"policy\.{section}\.{known}s: .* did you mean '{known}'"):
        parse_policy({section: {f"{known}s": POLICY[section][known]}})
    with pytest.raises(SpecificationError, match=rf"diagnostics\.{section}\.nothing: .* no such field"):
        decode(Diagnostics, {section: {**WANTED[section], "nothing": 1}}, where="diagnostics")


class Text(HTMLParser):
    """The page's text and what a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.text, self.fetched = "", []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_every_section(report):
    page = Text()
    page.feed(render_evaluation(report, model_name="flights", evaluated_at="now"))
    assert page.fetched == []
    for words in (
        "expected calibration error",
        "candidate: share of positives by predicted probability",
        "noise 0.5",
        "candidate over champion",
        "equal a training row",
        "are about a customer that was trained on",
        "2013-02-28T00:00:00+00:00",
    ):
        assert words in page.text
    assert "None" not in page.text
    assert "nan" not in page.text.replace("domain", "")


def test_the_page_of_a_first_release_without_training_rows(report):
    document = encode(report)
    found = document["diagnostics"]
    document |= {"champion": None, "differences": {}}
    found["calibration"]["champion"] = None
    found["calibration"]["candidate"] |= {"slope": None, "unmeasured": {"slope": "why <not>"}}
    for one in found["robustness"]["disturbances"]:
        one["champion"] = None
    found["robustness"]["disturbances"][0]["candidate"] |= {
        "flips": None, "losses": {}, "unmeasured": {"flips": "no answer"}
    }  # fmt: skip
    for one in found["budgets"]["latencies"]:
        one |= {"champion": None, "ratio": None}
    found["budgets"] |= {"champion_bytes": None, "candidate_peak_bytes": None}
    found["leakage"] |= {"rows": None, "time": None, "entities": [], "features": [], "late_columns": ["outcome"]}
    found["leakage"] |= {"training_rows": None, "unmeasured": {"rows": "none given"}}
    found["freshness"] |= {"training": None, "unmeasured": {"training": "none given"}}
    page = Text()
    page.feed(render_evaluation(decode(type(report), document), model_name="flights", evaluated_at="now"))
    for words in ("why <not>", "noise 0.1 was not measured: no answer", "none given", "outcome"):
        assert words in page.text
    found["calibration"] = {"rows": 5, "confidence": 0.95, "unmeasured": "no probabilities"}
    page.feed(render_evaluation(decode(type(report), document), model_name="flights", evaluated_at="now"))
    assert "no probabilities" in page.text
