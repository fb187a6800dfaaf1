"""Whether a change is shown."""

from __future__ import annotations

import re

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.monitoring.detectors import detect_drift
from airflow_mlops.monitoring.spec import DayTotals, MonitorPolicy, ReferenceProfile
from airflow_mlops.monitoring.window import JoinedRows, ReadResult
from airflow_mlops.verdict import Verdict

DAYS, ROWS_A_DAY, PREDICTION = 20, 50, 0.2
READ = ReadResult(files=1, lines=1000)


def window(rate: float, *, days: int = DAYS, prediction: float = PREDICTION, wobble: float = 0.04, unlabelled: int = 0):
    """Rows whose days differ a little, as days do: late rate ``rate`` plus or minus ``wobble``."""
    pairs = []
    for day in range(days):
        late = round(ROWS_A_DAY * (rate + (wobble if day % 2 else -wobble)))
        pairs += [(f"2013-06-{day + 1:02d}-{row}", prediction, int(row < late)) for row in range(ROWS_A_DAY)]
    return JoinedRows(
        pairs=tuple(pairs),
        times=(0.0,) * len(pairs),
        predictions=len(pairs) + unlabelled,
        labels=len(pairs),
        repeated_predictions=0,
        repeated_labels=0,
    )


def reference(days: int = 30) -> ReferenceProfile:
    by_day = tuple(
        DayTotals(
            day=f"2013-04-{day + 1:02d}",
            rows=100,
            label_sum=20 + (4 if day % 2 else -4),
            prediction_sum=20,
            brier_sum=16 + (2 if day % 2 else -2),
        )
        for day in range(days)
    )
    return ReferenceProfile(rows=100 * days, label_rate=0.2, mean_prediction=0.2, brier=0.16, by_day=by_day)


def policy(**changes) -> MonitorPolicy:
    return MonitorPolicy(**({"min_rows": 500, "day_characters": 10, "calibration_gap": 0.02} | changes))


def found(report, name: str):
    return next(check for check in report.checks if check.name == name)


def test_no_change_is_no_drift():
    report = detect_drift(window(0.2), policy(), None, read=READ)

    assert report.verdict is Verdict.PASS
    assert not report.drifted


@pytest.mark.parametrize("rate", [0.1, 0.32])
def test_a_gap_on_either_side_is_drift_with_its_interval(rate):
    report = detect_drift(window(rate), policy(), None, read=READ)

    gap = found(report, "calibration_gap")
    assert report.drifted
    assert gap.value == pytest.approx(rate - PREDICTION, abs=0.01)
    assert gap.low < gap.value < gap.high
    assert "the interval excludes 0 and the size reaches the limit of 0.02" in report.reason


def test_a_gap_that_is_real_but_does_not_matter_is_no_drift():
    report = detect_drift(window(0.23, wobble=0.01), policy(calibration_gap=0.04), None, read=READ)

    assert found(report, "calibration_gap").low > 0
    assert report.verdict is Verdict.PASS
    assert "the size is below the limit of 0.04" in report.checks[0].reason


def test_a_gap_that_could_be_noise_is_no_drift():
    report = detect_drift(window(0.3, wobble=0.3), policy(), None, read=READ)

    assert found(report, "calibration_gap").value >= 0.02
    assert report.verdict is Verdict.PASS
    assert "but the interval holds 0" in report.checks[0].reason


def test_days_that_differ_much_say_less():
    steady = found(detect_drift(window(0.3, wobble=0.02), policy(), None, read=READ), "calibration_gap")
    wild = found(detect_drift(window(0.3, wobble=0.2), policy(), None, read=READ), "calibration_gap")

    assert wild.high - wild.low > 5 * (steady.high - steady.low)


def test_a_worse_brier_score_and_moved_predictions_are_drift():
    report = detect_drift(
        window(0.6, prediction=0.3),
        policy(calibration_gap=None, brier_increase=0.03, score_shift=0.05),
        reference(),
        read=READ,
    )

    assert found(report, "brier_increase").verdict is Verdict.FAIL
    assert found(report, "score_shift").verdict is Verdict.FAIL
    assert found(report, "score_shift").value == pytest.approx(0.1)
    assert found(report, "label_rate").verdict is Verdict.PASS


def test_a_better_brier_score_is_no_drift():
    report = detect_drift(
        window(0.04, wobble=0.0), policy(calibration_gap=None, brier_increase=0.01), reference(), read=READ
    )

    assert found(report, "brier_increase").value < -0.01
    assert not report.drifted


@pytest.mark.parametrize(
    ("joined", "changes", "reason"),
    [
        (window(0.5), {"min_rows": 5000}, "1,000 rows have a prediction and a label; 5,000 are needed"),
        (window(0.5, days=5), {"min_rows": 2}, "the rows come from 5 days; 10 are needed"),
        (window(0.5, unlabelled=1000), {}, r"1,000 of 2,000 predictions have a label \(50%\); others may still come"),
    ],
)
def test_too_little_is_inconclusive_however_large_the_gap(joined, changes, reason):
    report = detect_drift(joined, policy(**changes), None, read=READ)

    assert report.verdict is Verdict.INCONCLUSIVE
    assert not report.drifted
    assert re.search(reason, report.reason)


def test_no_predictions_are_an_error():
    empty = JoinedRows(pairs=(), times=(), predictions=0, labels=7, repeated_predictions=0, repeated_labels=0)

    report = detect_drift(empty, policy(), None, read=ReadResult(files=2, lines=40))

    assert report.verdict is Verdict.ERROR
    assert report.reason.startswith("no predictions lie in the window (40 log lines were read in 2 files)")


def test_a_log_with_many_unreadable_lines_is_not_trusted():
    read = ReadResult(files=1, lines=100, unreadable=2, first_problem="a.jsonl:3: id is not a text")

    report = detect_drift(window(0.2), policy(), None, read=read)

    assert report.verdict is Verdict.ERROR
    assert "2 of 100 log lines are unreadable; the first: a.jsonl:3: id is not a text" in report.reason


def test_a_thin_reference_leaves_its_checks_open_but_not_the_others():
    report = detect_drift(window(0.4), policy(brier_increase=0.02), reference(days=3), read=READ)

    assert found(report, "brier_increase").verdict is Verdict.INCONCLUSIVE
    assert report.drifted


def test_a_policy_that_compares_needs_a_reference():
    with pytest.raises(SpecificationError, match=r"reference: None .* brier_increase and score_shift compare with it"):
        detect_drift(window(0.2), policy(score_shift=0.1), None, read=READ)


def test_leftovers_are_counted():
    report = detect_drift(window(0.2, unlabelled=10), policy(), None, read=ReadResult(files=1, lines=9, torn=1))

    assert report.counts["joined"] == 1000
    assert report.counts["unlabelled"] == 10
    assert report.counts["torn_lines"] == 1
