"""How predictions meet their labels."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.monitoring.window import LabelRow, PredictionRow, Window, by_day, join


def prediction(identifier: str, value: float = 0.5, time: float = 0.0) -> PredictionRow:
    return PredictionRow(id=identifier, time=time, prediction=value)


def label(identifier: str, value: int = 1, time: float = 0.0) -> LabelRow:
    return LabelRow(id=identifier, time=time, label=value)


def test_what_has_no_partner_is_counted():
    joined = join([prediction("a"), prediction("b")], [label("b"), label("c"), label("d")])

    assert [pair[0] for pair in joined.pairs] == ["b"]
    assert (joined.unlabelled, joined.unpredicted) == (1, 2)


def test_of_repeated_rows_the_last_in_time_counts():
    joined = join(
        [prediction("a", 0.1, time=2), prediction("a", 0.9, time=1)],
        [label("a", 0, time=1), label("a", 1, time=1)],
    )

    assert joined.pairs == (("a", 0.1, 1),)
    assert (joined.repeated_predictions, joined.repeated_labels) == (1, 1)


def test_days_come_from_ids_or_from_times():
    joined = join(
        [prediction("2013-06-01-x", 0.2), prediction("2013-06-02-y", 0.4, time=86_400)],
        [label("2013-06-01-x", 1), label("2013-06-02-y", 0)],
    )

    named, timed = by_day(joined, 10), by_day(joined, None)

    assert [day.day for day in named] == ["2013-06-01", "2013-06-02"]
    assert [day.day for day in timed] == ["1970-01-01", "1970-01-02"]
    assert named[0].brier_sum == pytest.approx(0.64)


def test_a_window_takes_ids_and_times():
    window = Window(id_prefix="2013-06", since=10, until=20)

    assert window.holds("2013-06-14-UA", 10)
    assert not window.holds("2013-06-14-UA", 20)
    assert not window.holds("2013-07-01-UA", 15)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [({}, "a prefix of ids such as '2013-06'"), ({"since": 5, "until": 5}, r"window.until: 5 .* a time after since")],
)
def test_a_window_that_holds_nothing_or_everything_is_refused(bounds, message):
    with pytest.raises(SpecificationError, match=message):
        Window(**bounds)
