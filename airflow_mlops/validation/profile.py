"""What the columns of a dataset look like, in kilobytes: values that merge, so that parts add up to a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.stats.rank_summary import RankSummary, merge_summaries

__all__ = [
    "LONGEST_VALUE",
    "ColumnProfile",
    "DatasetProfile",
    "Kind",
    "TopValue",
    "Totals",
    "frequent",
    "merge_columns",
    "merge_profiles",
    "parse_profile",
]

#: Longer texts are listed shortened, with a digest.
LONGEST_VALUE = 100
Kind = Literal["number", "text", "time", "boolean", "other"]


@dataclass(frozen=True, kw_only=True)
class TopValue:
    """A frequent value.

    :param value: the value as text
    :param count: how many rows have it at least; at most as many more as the column's ``top_error``
    """

    value: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What numbers add up to.

    :param count: how many there are
    :param mean: their mean
    :param squares: sum of their squared distances from the mean
    """

    count: int
    mean: float
    squares: float

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample; 0 for a single number."""
        return float((self.squares / (self.count - 1)) ** 0.5) if self.count > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """One column.

    :param kind: what its values are; of ``other`` only rows and missing values are known
    :param type: its type as the files call it
    :param rows: number of rows
    :param missing: rows without a value; not-a-number is none
    :param infinite: rows with an infinite number; the following is about the finite ones
    :param totals: mean and spread of numbers, and of times in seconds since the epoch; None where there is no value
    :param low: lowest number, or time in seconds since the epoch
    :param high: highest number, or time in seconds since the epoch
    :param ranks: quantiles of numbers and times
    :param shortest: length of the shortest text, in characters
    :param longest: length of the longest text, in characters
    :param top: the most frequent values, the most frequent first
    :param top_error: at most how many rows have a value that is not in ``top``; 0 if ``top`` holds every value
    """

    kind: Kind
    type: str
    rows: int
    missing: int
    infinite: int = 0
    totals: Totals | None = None
    low: float | None = None
    high: float | None = None
    ranks: RankSummary | None = None
    shortest: int | None = None
    longest: int | None = None
    top: tuple[TopValue, ...] = ()
    top_error: int = 0

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def distinct(self) -> int | None:
        """How many different values there are, None where that is not known."""
        return len(self.top) if self.top_error == 0 and self.kind != "other" else None


@dataclass(frozen=True, kw_only=True)
class DatasetProfile:
    """All columns of one dataset, or of several.

    :param datasets: digests of the datasets, sorted
    :param rows: number of rows in all of them
    :param columns: column name to profile, in order
    :param model_version: version of the model that the rows belong to, None if to none
    :param profile_version: version of this document's form, currently 1
    """

    datasets: tuple[str, ...]
    rows: int
    columns: Mapping[str, ColumnProfile]
    model_version: str | None = None
    profile_version: int = 1

    @property
    def digest(self) -> str:
        """``sha256:…`` of the profile's canonical form; the same rows in the same files give the same."""
        return digest_of(encode(self))


def parse_profile(document: Any, *, where: str = "profile") -> DatasetProfile:
    """Read a profile as it is stored.

    :raises SpecificationError: if it is none
    """
    profile = decode(DatasetProfile, document, where=where)
    if profile.profile_version != 1:
        raise SpecificationError(f"{where}.profile_version", profile.profile_version, "1")
    return profile


def frequent(counted: Iterable[tuple[str, int]], limit: int) -> tuple[tuple[TopValue, ...], int]:
    """Choose the values to list from counts of all values: at most ``limit``, each ahead of every one not listed.

    :return: the values, and at most how many rows have a value that is not listed
    """
    ordered = sorted(counted, key=lambda one: (-one[1], one[0]))
    error = ordered[limit][1] if len(ordered) > limit else 0
    return tuple(TopValue(value=value, count=count) for value, count in ordered[:limit] if count > error), error


def merge_columns(parts: Sequence[ColumnProfile], *, top_values: int) -> ColumnProfile:
    """Profile the rows of all parts together; counts, bounds and totals are those of the whole.

    :param parts: at least one
    :param top_values: at most how many frequent values are listed
    :raises ContractError: if they are not of one kind
    """
    # A part without any value may have been read as of any kind.
    telling = [part for part in parts if part.present] or list(parts)
    first = telling[0]
    if len(parts) == 1:
        return first
    if any(part.kind != first.kind for part in telling):
        kinds = ", ".join(sorted({part.kind for part in telling}))
        raise ContractError(f"profiles of different kinds cannot be merged: {kinds}")
    top, error = _merged_top(parts, top_values)
    ranks = [part.ranks for part in parts if part.ranks is not None]
    return replace(
        first,
        rows=sum(part.rows for part in parts),
        missing=sum(part.missing for part in parts),
        infinite=sum(part.infinite for part in parts),
        totals=_merged_totals([part.totals for part in parts if part.totals is not None]),
        low=min((part.low for part in parts if part.low is not None), default=None),
        high=max((part.high for part in parts if part.high is not None), default=None),
        ranks=merge_summaries(ranks) if ranks else None,
        shortest=min((part.shortest for part in parts if part.shortest is not None), default=None),
        longest=max((part.longest for part in parts if part.longest is not None), default=None),
        top=top,
        top_error=error,
    )


def merge_profiles(profiles: Sequence[DatasetProfile], *, top_values: int = 50) -> DatasetProfile:
    """Profile several datasets as one.

    :param profiles: at least one, all with the same columns, each of other datasets
    :raises ContractError: if columns differ, or a dataset would be counted twice
    """
    if not profiles:
        raise SpecificationError("profiles", [], "at least one profile")
    names = list(profiles[0].columns)
    datasets = [digest for profile in profiles for digest in profile.datasets]
    if len(set(datasets)) < len(datasets):
        raise ContractError("a dataset is in more than one of the profiles; its rows would count twice")
    for profile in profiles[1:]:
        if set(profile.columns) != set(names):
            different = ", ".join(sorted(set(profile.columns) ^ set(names)))
            raise ContractError(f"profiles with different columns cannot be merged: {different}")
    versions = {profile.model_version for profile in profiles}
    return DatasetProfile(
        datasets=tuple(sorted(datasets)),
        rows=sum(profile.rows for profile in profiles),
        columns={name: _named(name, [profile.columns[name] for profile in profiles], top_values) for name in names},
        model_version=versions.pop() if len(versions) == 1 else None,
    )


def _named(name: str, parts: Sequence[ColumnProfile], top_values: int) -> ColumnProfile:
    try:
        return merge_columns(parts, top_values=top_values)
    except ContractError as error:
        raise ContractError(f"{name}: {error}") from error


def _merged_top(parts: Sequence[ColumnProfile], limit: int) -> tuple[tuple[TopValue, ...], int]:
    """Add the counts up; what a part does not list may be in it as often as its error says."""
    counts: dict[str, int] = {}
    for part in parts:
        for one in part.top:
            counts[one.value] = counts.get(one.value, 0) + one.count
    top, dropped = frequent(counts.items(), limit)
    return top, dropped + sum(part.top_error for part in parts)


def _merged_totals(parts: Sequence[Totals]) -> Totals | None:
    """Combine pairwise, as Chan, Golub and LeVeque (1979) do: no difference of large sums is taken."""
    if not parts:
        return None
    merged = parts[0]
    for part in parts[1:]:
        count, apart = merged.count + part.count, part.mean - merged.mean
        merged = Totals(
            count=count,
            mean=merged.mean + apart * part.count / count,
            squares=merged.squares + part.squares + apart * apart * merged.count * part.count / count,
        )
    return merged
