"""What holds for every join and every window."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.monitoring.detectors import detect_drift
from airflow_mlops.monitoring.spec import MonitorPolicy
from airflow_mlops.monitoring.window import JoinedRows, LabelRow, PredictionRow, ReadResult, by_day, join
from airflow_mlops.verdict import Verdict

IDS = st.sampled_from([f"2013-06-{day:02d}-{row}" for day in range(1, 6) for row in range(4)])
TIMES = st.integers(0, 10).map(float)
PREDICTIONS = st.lists(st.builds(PredictionRow, id=IDS, time=TIMES, prediction=st.floats(0, 1)), max_size=40)
LABELS = st.lists(st.builds(LabelRow, id=IDS, time=TIMES, label=st.integers(0, 1)), max_size=40)
DAYS = st.lists(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=6), min_size=3, max_size=8)
POLICY = MonitorPolicy(min_rows=2, min_days=2, day_characters=2, calibration_gap=0.02)


@settings(deadline=None, max_examples=60)
@given(PREDICTIONS, LABELS)
def test_the_counts_of_a_join_add_up(predictions, labels):
    joined = join(predictions, labels)

    assert len(joined.pairs) + joined.unlabelled + joined.repeated_predictions == len(predictions)
    assert len(joined.pairs) + joined.unpredicted + joined.repeated_labels == len(labels)
    assert len({pair[0] for pair in joined.pairs}) == len(joined.pairs)
    assert sum(day.rows for day in by_day(joined, 10)) == len(joined.pairs)


@settings(deadline=None, max_examples=60)
@given(PREDICTIONS, LABELS)
def test_repeating_the_log_changes_no_pair(predictions, labels):
    once, twice = join(predictions, labels), join(predictions + predictions, labels + labels)

    assert twice.pairs == once.pairs


def window(days: list[list[tuple[float, int]]]) -> JoinedRows:
    pairs = tuple(
        (f"{number:02d}-{row}", prediction, label)
        for number, day in enumerate(days)
        for row, (prediction, label) in enumerate(day)
    )
    return JoinedRows(
        pairs=pairs,
        times=(0.0,) * len(pairs),
        predictions=len(pairs),
        labels=len(pairs),
        repeated_predictions=0,
        repeated_labels=0,
    )


def gap(days: list[list[tuple[float, int]]]):
    return detect_drift(window(days), POLICY, None, read=ReadResult()).checks[0]


@settings(deadline=None, max_examples=60)
@given(DAYS)
def test_more_late_flights_never_lower_the_gap(days):
    later = [[(prediction, 1) for prediction, _ in day] for day in days]

    assert gap(later).value >= gap(days).value - 1e-12


@settings(deadline=None, max_examples=60)
@given(DAYS, st.floats(0.01, 0.2))
def test_predicting_less_moves_the_whole_interval_up(days, shift):
    high = [[(0.2 + 0.8 * prediction, label) for prediction, label in day] for day in days]
    low = [[(prediction - shift, label) for prediction, label in day] for day in high]

    before, after = gap(high), gap(low)

    assert after.value - before.value == pytest.approx(shift)
    assert (after.low - before.low, after.high - before.high) == pytest.approx((shift, shift))


@settings(deadline=None, max_examples=60)
@given(DAYS)
def test_drift_is_found_exactly_when_the_gap_is_real_and_matters(days):
    check = gap(days)

    assert (check.verdict is Verdict.FAIL) == ((check.low > 0 or check.high < 0) and abs(check.value) >= 0.02)
    assert check.low <= check.value <= check.high


@settings(deadline=None, max_examples=60)
@given(DAYS)
def test_thin_evidence_never_passes(days):
    strict = MonitorPolicy(min_rows=1000, min_days=2, day_characters=2, calibration_gap=0.02)

    assert detect_drift(window(days), strict, None, read=ReadResult()).verdict is Verdict.INCONCLUSIVE
