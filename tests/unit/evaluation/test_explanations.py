"""What a candidate goes by: models whose truth is known, and the rule about it."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Diagnostics, DiagnosticsReport, Subject, diagnose
from airflow_mlops.evaluation.explanations import ExplanationsSpec, explain
from airflow_mlops.evaluation.explanations_page import view_explanations
from airflow_mlops.exceptions import ContractError, SpecificationError

np = pytest.importorskip("numpy", reason="rows are arrays")
pd = pytest.importorskip("pandas", reason="rows are frames")

ROWS = 1500
FEATURES = {"strong": "double", "weak": "double", "unused": "double", "place": "string"}


def model(weights: dict[str, float], rows: Any) -> Diagnosed:
    """A model that adds its columns up; the place counts by whether it is here."""

    def predict(frame: Any) -> Any:
        total = sum(weight * np.nan_to_num(frame[name].to_numpy(dtype="float64")) for name, weight in numbers.items())
        return np.clip(0.5 + total + weights.get("place", 0.0) * (frame["place"] == "here").to_numpy(), 0.0, 1.0)

    numbers = {name: weight for name, weight in weights.items() if name != "place"}
    return Diagnosed(predict=predict, scores=predict(rows), features=dict(FEATURES), path=Path())


@functools.cache
def rows() -> Any:
    random = np.random.default_rng(3)
    frame = pd.DataFrame({name: random.uniform(-1, 1, ROWS) for name in ("strong", "weak", "unused")})
    frame["place"] = random.choice(["here", "there"], ROWS)
    frame.loc[:20, "place"] = None
    frame["late"] = (random.random(ROWS) < 0.5 + 0.3 * frame["strong"] + 0.1 * frame["weak"]).astype(int)
    return frame


def subject(
    candidate: dict[str, float] | None = None, champion: dict[str, float] | None = None, **changes: Any
) -> Subject:
    frame = rows()
    given: dict[str, Any] = {
        "rows": frame,
        "target": "late",
        "labels": frame["late"].to_numpy(),
        "days": np.arange(ROWS) % 30,
        "candidate": model(candidate or {"strong": 0.3, "weak": 0.1}, frame),
        "champion": None if champion is None else model(champion, frame),
        **changes,
    }
    return Subject(**given)


def test_a_column_counts_by_what_its_loss_costs() -> None:
    found = explain(ExplanationsSpec(rows=ROWS), subject())
    by_name = {one.column: one.candidate for one in found.importances}
    assert [one.column for one in found.importances][:2] == ["strong", "weak"]
    assert by_name["unused"].value == by_name["place"].value == 0.0
    # Losing a column leaves twice its variance: 2 * 0.3² / 3. Five deals of 1,500 rows are off by a few per cent.
    assert by_name["strong"].value == pytest.approx(2 * 0.3**2 / 3, rel=0.15)
    assert by_name["strong"].low < by_name["strong"].value < by_name["strong"].high
    assert found.rows == ROWS
    assert found.stopped is None


def test_importance_is_that_of_scikit_learn() -> None:
    inspection = pytest.importorskip("sklearn.inspection", reason="what it is compared with")
    linear = pytest.importorskip("sklearn.linear_model", reason="what it is compared with")
    frame, names = rows(), ["strong", "weak", "unused"]
    fitted = linear.LogisticRegression().fit(frame[names], frame["late"])

    def predict(given: Any) -> Any:
        return fitted.predict_proba(given[names])[:, 1]

    candidate = Diagnosed(
        predict=predict, scores=predict(frame), features=dict.fromkeys(names, "double"), path=Path(), estimator=fitted
    )
    found = explain(ExplanationsSpec(rows=ROWS, local=0), replace(subject(), candidate=candidate))
    theirs = inspection.permutation_importance(
        fitted, frame[names], frame["late"], scoring="neg_brier_score", n_repeats=20, random_state=0
    )
    for name, mean, deviation in zip(names, theirs.importances_mean, theirs.importances_std, strict=True):
        mine = next(one.candidate.value for one in found.importances if one.column == name)
        # Mine is the mean of five deals, theirs of twenty: four standard errors of the difference.
        assert mine == pytest.approx(mean, abs=4 * deviation * (1 / 5 + 1 / 20) ** 0.5 + 1e-6)


def test_single_errors_are_taken_apart_and_only_by_numbers() -> None:
    given = subject({"strong": 0.3, "place": 0.1})
    found = explain(ExplanationsSpec(local=4), given)
    assert len(found.errors) == 4
    away = [abs(one.score - one.label) for one in found.errors]
    assert away == sorted(away, reverse=True)
    assert away[0] == pytest.approx(abs(given.candidate.scores - given.labels).max())
    worst = int(np.argmax(np.abs(given.candidate.scores - given.labels)))
    # One hundred other values of a uniform column have a mean within three of its standard errors: 0.17.
    expected = 0.3 * rows()["strong"].iloc[worst]
    assert found.errors[0].effects["strong"] == pytest.approx(expected, abs=0.3 * 0.18)
    assert found.errors[0].effects["unused"] == 0.0
    assert set(vars(found.errors[0])) == {"label", "score", "effects"}


def test_the_same_model_agrees_with_itself() -> None:
    same = {"strong": 0.3, "weak": 0.1, "place": 0.05}
    agreed = explain(ExplanationsSpec(top=2), subject(same, same)).agreement
    assert agreed is not None
    assert (agreed.rank_correlation.low, agreed.rank_correlation.value) == (1.0, 1.0)
    assert agreed.top_overlap.value == 1.0


def test_a_model_that_goes_by_other_columns_does_not_agree() -> None:
    # The labels follow strong and weak only, so that going by unused makes losses worse and its loss is a gain.
    agreed = explain(ExplanationsSpec(top=1), subject({"strong": 0.3}, {"unused": 0.3, "weak": 0.2})).agreement
    assert agreed is not None
    assert agreed.rank_correlation.high < 0.9
    assert agreed.top_overlap.value == 0.0
    assert agreed.top == 1


def test_where_nothing_can_be_compared_it_is_said() -> None:
    assert explain(ExplanationsSpec(), subject()).unagreed == "first release: no champion to compare with"
    few = explain(ExplanationsSpec(), subject(None, {"weak": 0.1}, days=np.arange(ROWS) % 3))
    assert few.agreement is None
    assert few.unagreed == "the rows come from 3 days; an interval needs 5"
    nothing = explain(ExplanationsSpec(), subject(None, {"strong": 0.0}))
    assert nothing.unagreed == "one of the models holds all columns equally important, so there is no order to compare"


def test_it_stops_after_its_time_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_mlops.evaluation.explanations_permutation._CHUNK", 100)
    found = explain(ExplanationsSpec(rows=1000, seconds=1e-9), subject(None, {"strong": 0.2}))
    assert found.rows == 100
    assert found.stopped == "100 of 1,000 rows were explained within 1e-09 seconds"


@pytest.mark.parametrize(
    ("package", "section"),
    [
        ("shap", {"explanations": {"method": "shap"}}),
        ("lime", {"explanations": {"method": "lime"}}),
        ("skore", {"methodology": {}}),
    ],
)
def test_a_package_that_is_not_there_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str, section: dict[str, Any]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    wanted = decode(Diagnostics, section)
    with pytest.raises(ContractError, match=f"needs the package {package}.*explanations-requirements.txt"):
        diagnose(wanted, subject())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"method": "magic"}, "method"),
        ({"rows": 3}, "explanations.rows"),
        ({"seconds": 0}, "explanations.seconds"),
        ({"local": 1000}, "explanations.local"),
        ({"top": 0}, "explanations.top"),
        ({"columns": ["x"]}, "columns"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecificationError, match=named):
        decode(ExplanationsSpec, fields)


def test_the_report_survives_its_file_and_the_page_shows_the_strongest_first() -> None:
    found = DiagnosticsReport(explanations=explain(ExplanationsSpec(), subject(None, {"weak": 0.2, "place": 0.1})))
    again = decode(DiagnosticsReport, json.loads(canonical_json(encode(found))))
    assert again.explanations == found.explanations
    assert again.explanations is not None
    view = view_explanations(again.explanations)
    assert view["agreement"] is not None
    (_, picture), *_ = view["errors"]
    assert picture.index(">strong<") < picture.index(">unused<")


def test_error_examples_show_the_columns_that_were_asked_for_and_no_others() -> None:
    wanted = decode(Diagnostics, {"error_examples": {"rows": 3, "columns": ["place", "strong"]}})
    found = diagnose(wanted, subject(None, {"strong": 0.1})).error_examples
    assert found is not None
    assert found.columns == ("place", "strong")
    assert [set(one.values) for one in found.examples] == [{"place", "strong"}] * 3
    away = [abs(one.label - one.score) for one in found.examples]
    assert away == sorted(away, reverse=True)
    assert all(one.champion_score is not None for one in found.examples)


def test_missing_values_of_examples_are_missing_and_long_ones_cut() -> None:
    frame = rows().assign(note="x" * 1000, gone=None)
    wanted = decode(Diagnostics, {"error_examples": {"rows": 1, "columns": ["note", "gone"]}})
    found = diagnose(wanted, subject(rows=frame)).error_examples
    assert found is not None
    assert found.examples[0].values == {"note": "x" * 200, "gone": None}


def test_without_being_asked_no_row_is_in_the_report() -> None:
    assert diagnose(Diagnostics(), subject()) == DiagnosticsReport()


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"columns": []}, SpecificationError, "error_examples.columns"),
        ({}, SpecificationError, "columns"),
        ({"columns": ["place"], "rows": 0}, SpecificationError, "error_examples.rows"),
        ({"columns": ["plaice"]}, ContractError, "the data lack plaice; they have strong, weak"),
    ],
)
def test_examples_that_cannot_be_shown_are_refused(fields: dict[str, Any], error: type, named: str) -> None:
    with pytest.raises(error, match=named):
        diagnose(decode(Diagnostics, {"error_examples": fields}), subject())


def test_methodology_needs_the_rows_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skore", type(sys)("skore"))
    pytest.importorskip("sklearn", reason="it fits the model anew")
    with pytest.raises(ContractError, match="give the task the training_data"):
        diagnose(decode(Diagnostics, {"methodology": {}}), subject())


def test_a_ranking_is_explained_by_how_far_answers_move_and_has_no_wrong_rows() -> None:
    ranking = subject({"strong": 0.3, "weak": 0.1}, {"strong": 0.2}, task="ranking")
    found = explain(ExplanationsSpec(rows=ROWS), ranking)
    by_name = {one.column: one.candidate.value for one in found.importances}
    # Two uniform numbers from -1 to 1 are two thirds apart on the average.
    assert by_name["strong"] == pytest.approx(0.3 * 2 / 3, rel=0.1)
    assert by_name["unused"] == 0.0
    assert found.errors == ()
    with pytest.raises(ContractError, match="no single row is wrong"):
        diagnose(decode(Diagnostics, {"error_examples": {"columns": ["place"]}}), ranking)
