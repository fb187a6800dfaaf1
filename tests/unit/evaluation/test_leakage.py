"""Leakage: what is found in made-up rows, and every verdict of the rule."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject
from airflow_mlops.evaluation.leakage import LeakageReport, LeakageSpec, measure_leakage
from airflow_mlops.evaluation.leakage_rule import LeakageRule, judge_leakage
from airflow_mlops.evaluation.row_hash import row_hashes
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas", reason="rows are a pandas frame; pandas is no dependency of the domain")
pytest.importorskip("scipy")

ALL = {
    "maximum_row_overlap": 0.0,
    "maximum_entity_overlap": 0.0,
    "training_before_evaluation": True,
    "maximum_feature_power": 0.9,
    "forbid_late_columns": True,
}
SPEC = LeakageSpec(entities=("customer",), time_column="day", known_afterwards=("outcome",))


def frame(rows=2000, seed=1, month=2, customers=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=rows)
    late = (generator.random(rows) < 1 / (1 + np.exp(-x))).astype(int)
    return pd.DataFrame(
        {
            "x": x,
            "code": generator.choice(list("abc"), rows),
            "customer": customers + generator.integers(0, 300, rows),
            "day": [f"2013-{month:02d}-{day:02d}" for day in generator.integers(1, 29, rows)],
            "late": late,
            "outcome": np.where(late == 1, "refund", None),
            "delay": late * 30.0 + generator.normal(0, 8, rows),
            "gone": np.where(late == 1, generator.normal(size=rows), np.nan),
            "both_ends": np.where(late == 1, np.abs(x) + 2, np.abs(x) * 0.5) * generator.choice([-1, 1], rows),
        }
    )


def subject(rows=None, training=None, features=("x", "code"), labels=None):
    rows = frame() if rows is None else rows
    candidate = Diagnosed(predict=len, scores=None, features=dict.fromkeys(features, "double"), path=Path())
    return Subject(
        rows=rows,
        target="late",
        labels=rows["late"].to_numpy() if labels is None else labels,
        days=rows["day"].to_numpy(),
        candidate=candidate,
        training_rows=training,
    )


def clean_training():
    return frame(3000, seed=2, month=1, customers=1000)


def verdicts(report, **rule):
    return {check.name: check.verdict for check in judge_leakage(report, LeakageRule(**rule))}


def test_a_candidate_that_knows_nothing_it_should_not_passes():
    report = measure_leakage(SPEC, subject(training=clean_training()))
    assert set(verdicts(report, **ALL).values()) == {Verdict.PASS}
    assert len(verdicts(report, **ALL)) == 5
    assert decode(LeakageReport, json.loads(canonical_json(encode(report)))) == report


def test_rows_that_were_trained_on_are_counted():
    training = pd.concat([clean_training(), frame().iloc[:100]], ignore_index=True).sample(frac=1, random_state=1)
    report = measure_leakage(SPEC, subject(training=training))
    assert (report.rows.rows, report.rows.columns) == (100, 3)
    found = judge_leakage(report, LeakageRule(maximum_row_overlap=0.0))[0]
    assert found.verdict is Verdict.FAIL
    assert "100 of 2,000 rows (5 %) equal one of the 3,100 training rows by 3 columns" in found.reason
    assert verdicts(report, maximum_row_overlap=0.05)["leakage.row_overlap"] is Verdict.PASS


def test_coarse_rows_repeat_anyway_and_the_report_says_so():
    report = measure_leakage(LeakageSpec(row_columns=("code", "late")), subject(training=clean_training()))
    assert report.rows.share == report.rows.repeated_share == 1


def test_hashes_do_not_depend_on_types_but_on_columns_and_values():
    one = pd.DataFrame({"a": [1, 2, 0], "b": ["u", None, "w"], "c": [True, False, True]})
    other = pd.DataFrame({"a": [1.0, 2.0, -0.0], "b": ["u", np.nan, "w"], "c": [1.0, 0.0, 1.0]})
    mixed = pd.DataFrame({"a": pd.Series([1, 2, 0], dtype="object"), "b": pd.Categorical(["u", None, "w"]), "c": 1})
    assert (row_hashes(one, "abc") == row_hashes(other, "abc")).all()
    assert (row_hashes(one, "ab") == row_hashes(mixed, "ab")).all()
    swapped = pd.DataFrame({"a": [1, 2], "b": [2, 1]})
    assert len(set(row_hashes(swapped, "ab").tolist())) == 2
    many = pd.DataFrame({"a": np.arange(100_000), "b": np.arange(100_000) // 7})
    assert len(np.unique(row_hashes(many, "ab"))) == 100_000


def test_known_entities_fail():
    training = clean_training().assign(customer=lambda rows: rows["customer"] - 1000 + 150)
    report = measure_leakage(SPEC, subject(training=training))
    (found,) = report.entities
    assert 0.4 < found.row_share < 0.6
    assert verdicts(report, maximum_entity_overlap=0.1) == {"leakage.entity_overlap[customer]": Verdict.FAIL}


@pytest.mark.parametrize(
    "as_type", [str, date.fromisoformat, pd.Timestamp, lambda day: datetime.fromisoformat(day).replace(tzinfo=UTC)]
)
def test_training_rows_from_later_fail_whatever_holds_the_time(as_type):
    rows, training = (one.assign(day=one["day"].map(as_type)) for one in (frame(), frame(seed=2, month=2)))
    report = measure_leakage(SPEC, subject(rows, training))
    assert (report.time.latest_training, report.time.share) == ("2013-02-28T00:00:00+00:00", 1.0)
    assert verdicts(report, training_before_evaluation=True) == {"leakage.time_overlap": Verdict.FAIL}
    earlier = replace(subject(rows), training_rows=training.assign(day=as_type("2013-01-31")))
    assert measure_leakage(SPEC, earlier).time.share == 0


@pytest.mark.parametrize("feature", ["delay", "gone", "both_ends", "outcome"])
def test_a_feature_that_gives_the_answer_away_fails_in_whatever_way_it_does(feature):
    """By its value, by being missing, by lying at both ends, by being a category."""
    report = measure_leakage(SPEC, subject(features=("x", "code", feature)))
    (check,) = judge_leakage(report, LeakageRule(maximum_feature_power=0.9))
    assert check.verdict is Verdict.FAIL
    assert check.details["above"] == [feature]
    assert report.features[0].feature == feature
    assert f"look where they come from: {feature} " in check.reason


def test_a_feature_of_many_values_does_not_predict_its_own_label():
    rows = frame().assign(number=lambda rows: np.arange(len(rows)).astype(str))
    report = measure_leakage(SPEC, subject(rows, features=("number", "code")))
    assert all(one.power.low < 0.55 for one in report.features)


def test_a_bound_inside_the_interval_is_inconclusive():
    report = measure_leakage(SPEC, subject())
    (check,) = judge_leakage(report, LeakageRule(maximum_feature_power=report.features[0].power.value))
    assert check.verdict is Verdict.INCONCLUSIVE


def test_numbers_are_explained_rather_than_ranked():
    rows = frame()
    report = measure_leakage(SPEC, subject(rows, labels=rows["x"] * 3 + 1, features=("x", "code")))
    best, rest = report.features
    assert (best.feature, best.measure) == ("x", "r_squared")
    assert best.power.low > 0.94
    assert rest.power.high < 0.1
    assert verdicts(report, maximum_feature_power=0.9) == {"leakage.feature_power": Verdict.FAIL}


@pytest.mark.parametrize("feature", ["outcome", "late"])
def test_a_column_known_only_afterwards_fails_and_the_target_always_is_one(feature):
    report = measure_leakage(SPEC, subject(features=("x", feature)))
    (check,) = judge_leakage(report, LeakageRule(forbid_late_columns=True))
    assert check.verdict is Verdict.FAIL
    assert check.reason == f"reads {feature}, known only afterwards"


def test_without_training_rows_overlaps_are_inconclusive_and_say_what_to_do():
    report = measure_leakage(SPEC, subject())
    checks = judge_leakage(report, LeakageRule(**ALL, severity="warn"))
    assert [check.name for check in checks[:3]] == [
        "leakage.row_overlap", "leakage.entity_overlap[customer]", "leakage.time_overlap"
    ]  # fmt: skip
    for check in checks[:3]:
        assert check.verdict is Verdict.INCONCLUSIVE
        assert "training_data" in check.reason
    lacking = measure_leakage(SPEC, subject(training=clean_training().drop(columns=["customer", "day", "code"])))
    assert set(verdicts(lacking, **ALL).values()) == {Verdict.INCONCLUSIVE, Verdict.PASS}
    assert lacking.unmeasured["rows"] == "the training rows lack the columns code"
    empty = measure_leakage(SPEC, subject(training=clean_training().iloc[:0]))
    assert empty.unmeasured["time"] == "the training data hold no rows"
    timeless = clean_training().assign(day=None)
    assert "some rows have no value" in measure_leakage(SPEC, subject(training=timeless)).unmeasured["time"]


def test_what_was_not_asked_for_is_inconclusive():
    checks = judge_leakage(None, LeakageRule(**ALL))
    assert len(checks) == 5
    assert all(check.verdict is Verdict.INCONCLUSIVE for check in checks)
    nothing = measure_leakage(LeakageSpec(rows=False, features=False), subject(training=clean_training()))
    assert set(verdicts(nothing, **{**ALL, "forbid_late_columns": False}).values()) == {Verdict.INCONCLUSIVE}
    one_class = frame().assign(late=0)
    assert "features" in measure_leakage(SPEC, subject(one_class)).unmeasured


def test_severity_turns_a_failure_into_a_warning():
    report = measure_leakage(SPEC, subject(frame(), frame(), features=("x", "delay", "outcome")))
    assert set(verdicts(report, **ALL).values()) == {Verdict.FAIL}
    assert set(verdicts(report, **ALL, severity="warn").values()) == {Verdict.WARN}


@pytest.mark.parametrize("column", ["nowhere", "code"])
def test_a_column_that_does_not_serve_is_named(column):
    with pytest.raises(ContractError, match=column):
        measure_leakage(LeakageSpec(time_column=column), subject(training=clean_training()))


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (LeakageSpec, {"entities": ("",)}, "names of columns"),
        (LeakageRule, {}, "at least one of"),
        (LeakageRule, {"maximum_row_overlap": 1.0}, "from 0 to below 1"),
        (LeakageRule, {"maximum_feature_power": 1.0}, "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_refused(cls, fields, message):
    with pytest.raises(SpecificationError, match=message):
        cls(**fields)
