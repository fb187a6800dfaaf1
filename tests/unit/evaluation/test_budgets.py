"""Time and size, with a clock that says what it is told; and every verdict of the rule."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.budgets import BudgetsReport, BudgetsSpec, measure_budgets
from airflow_mlops.evaluation.budgets_rule import BudgetsRule, judge_budgets
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict


class Rows:
    """As much of a frame as timing needs."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    @property
    def iloc(self):
        return self

    def __getitem__(self, chosen):
        return Rows(self.rows[chosen])


class Clock:
    """Time passes only while a model answers."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def model(self, folder, milliseconds, size):
        """A model that takes so long per call, in turn, and so many bytes."""
        folder.mkdir(parents=True)
        (folder / "model.skops").write_bytes(b"0" * size)
        turns = itertools.cycle(milliseconds)

        def predict(rows):
            self.now += next(turns) / 1000 * (1 + len(rows) / 1000)
            return bytearray(10 * len(rows))

        return Diagnosed(predict=predict, scores=None, features={}, path=folder)


@pytest.fixture
def measured(tmp_path):
    """Measure a model, and perhaps a champion that takes 2 ms and 1,000 bytes."""
    numbers = itertools.count()

    def measure(milliseconds=(2.0,), size=1000, *, champion=True, **spec):
        clock, folder = Clock(), tmp_path / str(next(numbers))
        subject = Subject(
            rows=Rows(range(5000)),
            target="late",
            labels=None,
            days=None,
            candidate=clock.model(folder / "candidate", milliseconds, size),
            champion=clock.model(folder / "champion", (2.0,), 1000) if champion else None,
        )
        return measure_budgets(BudgetsSpec(**spec), subject, clock)

    return measure


def verdicts(report, **rule):
    return {check.name: check.verdict for check in judge_budgets(report, BudgetsRule(**rule))}


def test_times_are_percentiles_of_calls(measured):
    report = measured([2.0] * 19 + [9.0], warm_up=0)
    one, many = report.latencies
    assert (one.batch, many.batch) == (1, 1000)
    assert one.candidate.p50.value == pytest.approx(2.0 * 1.001)
    assert one.candidate.p99.value == pytest.approx(9.0 * 1.001)
    assert one.candidate.p95.low <= one.candidate.p95.value <= one.candidate.p95.high
    assert many.candidate.p50.value == pytest.approx(2.0 * 2)
    assert one.ratio.value == pytest.approx(1)
    assert (report.candidate_bytes, report.champion_bytes) == (1000, 1000)
    assert 10_000 <= report.candidate_peak_bytes < 100_000
    assert decode(BudgetsReport, json.loads(canonical_json(encode(report)))) == report


def test_what_keeps_its_budgets_passes(measured):
    rule = {
        "maximum_p95_ms": {"1": 3.0, "1000": 5.0},
        "maximum_latency_ratio": 1.5,
        "maximum_bytes": 1000,
        "maximum_bytes_ratio": 1.0,
        "maximum_peak_bytes": 100_000,
        "latency_severity": "fail",
    }
    assert set(verdicts(measured(), **rule).values()) == {Verdict.PASS}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ({"maximum_p95_ms": {"1": 3.0}}, "budgets.p95_ms[1]"),
        ({"maximum_p95_ms": {"1000": 3.0}}, "budgets.p95_ms[1000]"),
        ({"maximum_latency_ratio": 1.5}, "budgets.latency_ratio[1]"),
        ({"maximum_bytes": 1999}, "budgets.bytes"),
        ({"maximum_bytes_ratio": 1.9}, "budgets.bytes_ratio"),
        ({"maximum_peak_bytes": 9999}, "budgets.peak_bytes"),
    ],
)
def test_what_exceeds_its_budget_fails(measured, rule, name):
    """Slower by half and larger by half; about time a rule only warns unless it says otherwise."""
    report = measured([4.0], 2000)
    assert verdicts(report, **rule, latency_severity="fail")[name] is Verdict.FAIL
    of_time = "ms" in name or "latency" in name
    assert verdicts(report, **rule)[name] is (Verdict.WARN if of_time else Verdict.FAIL)
    assert verdicts(report, **rule, severity="warn")[name] is Verdict.WARN


def test_a_few_slow_calls_are_not_enough_to_tell(measured):
    """Of 100 calls five or so are slow: whether they are 5 % in truth cannot be said."""
    report = measured([2.0] * 15 + [9.0], repetitions=100, warm_up=0)
    (check,) = judge_budgets(report, BudgetsRule(maximum_p95_ms={"1": 5.0}, latency_severity="fail"))
    assert check.verdict is Verdict.INCONCLUSIVE


def test_a_first_release_has_nothing_to_be_compared_with(measured):
    found = verdicts(measured(champion=False), maximum_latency_ratio=2.0, maximum_bytes_ratio=2.0)
    assert set(found.values()) == {Verdict.WARN}


def test_a_clock_that_is_too_coarse_gives_no_ratio(measured):
    report = measured()
    coarse = replace(report, latencies=tuple(replace(one, ratio=None) for one in report.latencies))
    assert set(verdicts(coarse, maximum_latency_ratio=2.0).values()) == {Verdict.INCONCLUSIVE}


def test_what_was_not_measured_is_inconclusive_and_says_what_to_do(measured):
    everything = BudgetsRule(
        maximum_p95_ms={"1": 3.0}, maximum_latency_ratio=1.5, maximum_bytes=1, maximum_bytes_ratio=1, severity="warn"
    )
    checks = judge_budgets(None, everything)
    assert len(checks) == 4
    assert all(check.verdict is Verdict.INCONCLUSIVE for check in checks)
    assert all("add the section 'budgets'" in check.reason for check in checks)
    (check,) = judge_budgets(measured(batches=(1,)), BudgetsRule(maximum_p95_ms={"64": 3.0}))
    assert "with 64 among its 'batches'" in check.reason
    (check,) = judge_budgets(measured(memory=False), BudgetsRule(maximum_peak_bytes=1))
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "memory: true" in check.reason


def test_batches_larger_than_the_data_become_as_large_as_the_data(measured):
    assert [one.batch for one in measured(batches=(1, 7000, 9000)).latencies] == [1, 5000]


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (BudgetsSpec, {"batches": ()}, "different numbers"),
        (BudgetsSpec, {"batches": (1, 1)}, "different numbers"),
        (BudgetsSpec, {"repetitions": 99}, "at least 100"),
        (BudgetsSpec, {"warm_up": -1}, "0 or more"),
        (BudgetsRule, {}, "at least one of maximum_p95_ms"),
        (BudgetsRule, {"maximum_p95_ms": {"one": 3.0}}, "numbers of rows"),
        (BudgetsRule, {"maximum_p95_ms": {"1": 0.0}}, "above 0"),
        (BudgetsRule, {"maximum_bytes": -5}, "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(cls, fields, message):
    with pytest.raises(SpecificationError, match=message):
        cls(**fields)
