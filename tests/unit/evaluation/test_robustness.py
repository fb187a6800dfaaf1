"""Disturbed rows: what is done to them, what is measured, and every verdict of the rule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject
from airflow_mlops.evaluation.perturbation import applicable, perturb
from airflow_mlops.evaluation.robustness import RobustnessReport, RobustnessSpec, measure_robustness
from airflow_mlops.evaluation.robustness_rule import DisturbanceBounds, RobustnessRule, judge_robustness
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas", reason="rows are a pandas frame; pandas is no dependency of the domain")


def frame(rows=2000, seed=1):
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": generator.normal(5, 2, rows),
            "count": generator.integers(0, 5, rows),
            "code": generator.choice(["a", "b", None], rows),
            "day": np.arange(rows) % 20,
        }
    )


def steady(rows):
    """A model that leans on the category only."""
    return np.where(rows["code"] == "a", 0.8, 0.3)


def touchy(rows):
    """A model that answers differently a hair's breadth apart."""
    return 0.1 + 0.8 * (np.floor(rows["x"].fillna(0).to_numpy() * 50) % 2)


def plain(rows):
    return 1 / (1 + np.exp(-(rows["x"].fillna(5).to_numpy() - 5)))


def strict(rows):
    if rows.isna().to_numpy().any():
        raise ValueError("Input X contains NaN.\nand much more")
    return plain(rows)


FEATURES = {"x": "double", "count": "long", "code": "string"}


def diagnosed(predict, rows, features=FEATURES):
    return Diagnosed(predict=predict, scores=predict(rows), features=features, path=Path())


def subject(predict, champion=None, rows=None, labels=None, **fields):
    rows = frame() if rows is None else rows
    chance = 1 / (1 + np.exp(-(rows["x"].to_numpy() - 5)))
    drawn = (np.random.default_rng(2).random(len(rows)) < chance).astype(int)
    return Subject(
        rows=rows,
        target="late",
        labels=drawn if labels is None else labels,
        days=rows["day"].to_numpy(),
        candidate=diagnosed(predict, rows, **fields),
        champion=None if champion is None else diagnosed(champion, rows),
    )


def verdicts(report, **rule):
    return {check.name: check.verdict for check in judge_robustness(report, RobustnessRule(**rule))}


def test_noise_is_in_units_of_the_columns_spread():
    rows = frame(20_000)
    noisy = perturb(rows, ["x", "count"], "noise", 0.5, seed=3)
    for name in ("x", "count"):
        assert (noisy[name] - rows[name]).std() / rows[name].std(ddof=0) == pytest.approx(0.5, rel=0.05)
    assert noisy["code"].equals(rows["code"])


def test_missing_and_swapped_cells_are_as_many_as_asked():
    rows = frame(20_000)
    emptied = perturb(rows, ["x", "count"], "missing", 0.1, seed=3)
    assert emptied[["x", "count"]].isna().mean().tolist() == pytest.approx([0.1, 0.1], abs=0.01)
    swapped = perturb(rows, ["code"], "swaps", 0.5, seed=3)
    changed = (swapped["code"].fillna("none") != rows["code"].fillna("none")).mean()
    assert changed == pytest.approx(0.5 * 2 / 3, abs=0.02)  # a third of the swaps bring the same value
    assert set(swapped["code"].dropna()) == {"a", "b"}


def test_a_column_is_disturbed_alike_whatever_else_is():
    rows = frame()
    alone, together = (perturb(rows, names, "noise", 0.1, seed=3) for names in (["x"], ["count", "x"]))
    assert alone["x"].equals(together["x"])
    assert not alone["x"].equals(perturb(rows, ["x"], "noise", 0.1, seed=4)["x"])
    assert rows.equals(frame())  # the rows themselves stay


def test_kinds_are_for_columns_that_they_suit():
    rows = frame().assign(flag=True, kind=pd.Categorical(["u"] * 2000))
    columns = ["x", "count", "code", "flag", "kind"]
    assert applicable(rows, columns, "noise") == ["x", "count"]
    assert applicable(rows, columns, "swaps") == ["code", "flag", "kind"]
    for kind in ("missing", "swaps"):
        perturb(rows, applicable(rows, columns, kind), kind, 0.2, seed=1)


def test_a_touchy_model_fails_where_a_steady_one_passes():
    bounds = DisturbanceBounds(maximum_flips=0.1, maximum_loss={"brier": 0.02})
    report = measure_robustness(RobustnessSpec(), subject(touchy, champion=steady))
    assert verdicts(report, noise=bounds)["robustness.noise[0.1].flips"] is Verdict.FAIL
    (flips, _) = judge_robustness(report, RobustnessRule(noise=bounds))
    assert 0.4 < flips.value < 0.6
    assert decode(RobustnessReport, json.loads(canonical_json(encode(report)))) == report
    good = measure_robustness(RobustnessSpec(), subject(plain))
    assert set(verdicts(good, noise=bounds, missing=bounds).values()) == {Verdict.PASS}


def test_losses_fail_and_are_told_beside_the_champions():
    report = measure_robustness(RobustnessSpec(noise=(1.0,)), subject(plain, champion=plain))
    rule = RobustnessRule(noise=DisturbanceBounds(maximum_loss={"roc_auc": 0.01, "brier": 0.01}))
    checks = judge_robustness(report, rule)
    assert [check.verdict for check in checks] == [Verdict.FAIL, Verdict.FAIL]
    assert all(check.details["champion"] == check.value for check in checks)


def test_a_bound_inside_the_interval_is_inconclusive_and_says_how_many_rows_would_decide():
    report = measure_robustness(RobustnessSpec(), subject(plain))
    flips = report.disturbances[0].candidate.flips
    bounds = DisturbanceBounds(maximum_flips=(flips.value + flips.high) / 2)
    (check,) = judge_robustness(report, RobustnessRule(noise=bounds))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "more rows like these would decide" in check.reason


def test_a_model_that_cannot_answer_is_not_measured():
    rows = frame().assign(code="a")
    report = measure_robustness(RobustnessSpec(), subject(strict, rows=rows))
    bounds = DisturbanceBounds(maximum_flips=0.5)
    (check,) = judge_robustness(report, RobustnessRule(missing=bounds, severity="warn"))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "does not answer such rows: Input X contains NaN." in check.reason
    silent = measure_robustness(RobustnessSpec(), subject(lambda some: some["x"] / 100, rows=rows))
    (check,) = judge_robustness(silent, RobustnessRule(missing=bounds))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "of 2,000 such rows is no number" in check.reason
    assert verdicts(report, noise=bounds) == {"robustness.noise[0.1].flips": Verdict.PASS}


def test_a_kind_that_was_not_tried_or_hits_nothing_is_inconclusive():
    bounds = DisturbanceBounds(maximum_flips=0.5)
    (check,) = judge_robustness(None, RobustnessRule(swaps=bounds))
    assert (check.name, check.verdict) == ("robustness.swaps", Verdict.INCONCLUSIVE)
    assert "'robustness: {swaps: …}'" in check.reason
    numbers_only = measure_robustness(RobustnessSpec(), subject(plain, features={"x": "double"}))
    (check,) = judge_robustness(numbers_only, RobustnessRule(swaps=bounds))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "reads no column that this disturbs" in check.reason


def test_numbers_are_measured_by_their_errors():
    rows = frame()
    found = measure_robustness(RobustnessSpec(noise=(1.0,)), subject(lambda some: some["x"], labels=rows["x"] * 1.0))
    response = found.disturbances[0].candidate
    assert response.flips is None
    assert set(response.losses) == {"mean_squared_error", "mean_absolute_error"}
    assert response.losses["mean_squared_error"].value == pytest.approx(4, rel=0.2)
    bounds = DisturbanceBounds(maximum_loss={"mean_absolute_error": 0.1})
    assert set(verdicts(found, noise=bounds).values()) == {Verdict.FAIL}


def test_of_many_rows_some_are_drawn():
    report = measure_robustness(RobustnessSpec(maximum_rows=500), subject(plain))
    assert report.rows == 500
    assert report == measure_robustness(RobustnessSpec(maximum_rows=500), subject(plain))


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ContractError, match=r"robustness\.columns: the rows lack nowhere"):
        measure_robustness(RobustnessSpec(columns=("x", "nowhere")), subject(plain))


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (RobustnessSpec, {"noise": (), "missing": (), "swaps": ()}, "at least one size"),
        (RobustnessSpec, {"noise": (0.0,)}, "above 0"),
        (RobustnessSpec, {"swaps": (1.5,)}, "at most 1"),
        (RobustnessSpec, {"maximum_rows": 0}, "at least 1"),
        (RobustnessSpec, {"seed": -1}, "0 or"),
        (RobustnessRule, {}, "at least one of noise, missing, swaps"),
        (DisturbanceBounds, {}, "maximum_flips, maximum_loss or both"),
        (DisturbanceBounds, {"maximum_flips": 1.0}, "between 0 and 1"),
        (DisturbanceBounds, {"maximum_loss": {"auc": 0.1}}, "one of roc_auc, brier"),
        (DisturbanceBounds, {"maximum_loss": {"brier": 0.0}}, "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(cls, fields, message):
    with pytest.raises(SpecificationError, match=message):
        cls(**fields)
