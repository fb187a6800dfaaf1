"""Which rows are looked at, and how predictions meet their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.monitoring.spec import DayTotals

__all__ = ["JoinedRows", "LabelRow", "PredictionRow", "ReadResult", "Window", "by_day", "join"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """The rows that count as recent.

    :param id_prefix: ids begin with it, for example ``2013-06``; empty for all
    :param since: earliest time in seconds since the epoch, None for no bound
    :param until: time in seconds since the epoch that rows lie before, None for no bound
    """

    id_prefix: str = ""
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        """Refuse a window without bounds and one that can hold nothing."""
        if not self.id_prefix and self.since is None and self.until is None:
            raise SpecificationError("window", None, "a prefix of ids such as '2013-06', or since/until")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise SpecificationError("window.until", self.until, f"a time after since ({self.since})")

    def holds(self, identifier: str, time: float) -> bool:
        """Whether a row lies in the window."""
        return (
            identifier.startswith(self.id_prefix)
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
        )


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """One prediction as logged.

    :param id: what was predicted; labels name it too
    :param time: when, in seconds since the epoch
    :param prediction: probability of the label being 1
    :param version: version of the model
    """

    id: str
    time: float
    prediction: float
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One label as it arrived.

    :param id: what it is the label of
    :param time: when it arrived, in seconds since the epoch
    :param label: 0 or 1
    """

    id: str
    time: float
    label: int


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """What reading a log came to.

    :param files: number of files read
    :param lines: number of lines seen, of all windows
    :param torn: unfinished last lines, left by a writer that died
    :param unreadable: other lines that are not what they should be
    :param first_problem: file, line and reason of the first unreadable line
    """

    files: int = 0
    lines: int = 0
    torn: int = 0
    unreadable: int = 0
    first_problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class JoinedRows:
    """Predictions with their labels, and what found no partner.

    :param pairs: id, prediction and label of every id that has both
    :param times: time of the prediction by position of the pair
    :param predictions: number of distinct ids predicted
    :param labels: number of distinct ids labelled
    :param repeated_predictions: predictions superseded by a later one of the same id
    :param repeated_labels: labels superseded by a later one of the same id
    """

    pairs: tuple[tuple[str, float, int], ...]
    times: tuple[float, ...]
    predictions: int
    labels: int
    repeated_predictions: int
    repeated_labels: int

    @property
    def unlabelled(self) -> int:
        """Predicted ids without a label."""
        return self.predictions - len(self.pairs)

    @property
    def unpredicted(self) -> int:
        """Labelled ids without a prediction."""
        return self.labels - len(self.pairs)


def join(predictions: Sequence[PredictionRow], labels: Sequence[LabelRow]) -> JoinedRows:
    """Join by id; of several rows with one id the last in time counts, and the last read among equal times."""
    last_prediction = {row.id: row for row in sorted(predictions, key=lambda row: row.time)}
    last_label = {row.id: row for row in sorted(labels, key=lambda row: row.time)}
    both = sorted(last_prediction.keys() & last_label.keys())
    return JoinedRows(
        pairs=tuple((key, last_prediction[key].prediction, last_label[key].label) for key in both),
        times=tuple(last_prediction[key].time for key in both),
        predictions=len(last_prediction),
        labels=len(last_label),
        repeated_predictions=len(predictions) - len(last_prediction),
        repeated_labels=len(labels) - len(last_label),
    )


def by_day(joined: JoinedRows, day_characters: int | None) -> tuple[DayTotals, ...]:
    """Sum the joined rows per day, days in order.

    :param day_characters: how many leading characters of an id name the day; None takes the day of the prediction
    """
    totals: dict[str, list[float]] = {}
    for (identifier, prediction, label), time in zip(joined.pairs, joined.times, strict=True):
        day = identifier[:day_characters] if day_characters else datetime.fromtimestamp(time, UTC).date().isoformat()
        sums = totals.setdefault(day, [0, 0.0, 0.0, 0.0])
        for position, value in enumerate((1, label, prediction, (label - prediction) ** 2)):
            sums[position] += value
    return tuple(
        DayTotals(day=day, rows=int(n), label_sum=labels, prediction_sum=predictions, brier_sum=brier)
        for day, (n, labels, predictions, brier) in sorted(totals.items())
    )


def total(counts: Iterable[ReadResult]) -> ReadResult:
    """Add up what reading several logs came to."""
    found = list(counts)
    return ReadResult(
        files=sum(one.files for one in found),
        lines=sum(one.lines for one in found),
        torn=sum(one.torn for one in found),
        unreadable=sum(one.unreadable for one in found),
        first_problem=next((one.first_problem for one in found if one.first_problem), None),
    )
