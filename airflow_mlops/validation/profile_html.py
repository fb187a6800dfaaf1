"""The profile of a dataset as a page: for each column its numbers, its spread and its frequent values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow_mlops.page import render_page
from airflow_mlops.stats.rank_summary import RankSummary
from airflow_mlops.validation.profile import ColumnProfile, DatasetProfile

__all__ = ["render_profile"]

_BARS = 40
_TOP_SHOWN = 8
_SHARES = {"1 %": 0.01, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "99 %": 0.99}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render_profile(profile: DatasetProfile, *, dataset: Any, suite_text: str | None, profiled_at: str) -> str:
    """Render a profile for people.

    :param dataset: the reference of the rows
    :param suite_text: the suggested suite as YAML, None if there is none
    :param profiled_at: when, as text
    """
    return render_page(
        "validation/templates/profile.html",
        dataset=dataset,
        profile=profile,
        columns=[_column(name, one) for name, one in profile.columns.items()],
        suite_text=suite_text,
        error=_worst_error(profile),
        profiled_at=profiled_at,
    )


def _worst_error(profile: DatasetProfile) -> str:
    shares = [one.ranks.error / one.ranks.rows for one in profile.columns.values() if one.ranks and one.ranks.rows]
    return f"{max(shares, default=0):.2%}"


def _column(name: str, found: ColumnProfile) -> dict[str, Any]:
    most = max((one.count for one in found.top), default=1)
    return {
        "name": name,
        "kind": found.kind,
        "type": found.type,
        "missing": _share(found.missing, found.rows),
        "missing_percent": round(100 * found.missing / found.rows, 2) if found.rows else 0,
        "infinite": found.infinite,
        "distinct": found.distinct,
        "facts": _facts(found),
        "bars": _bars(found.ranks) if found.ranks is not None else [],
        "ends": _ends(found),
        "top": [
            {"value": one.value, "count": one.count, "percent": round(100 * one.count / most, 1)}
            for one in found.top[:_TOP_SHOWN]
        ],
    }


def _facts(found: ColumnProfile) -> dict[str, str]:
    facts = {}
    if found.low is not None and found.high is not None and found.ranks is not None:
        facts["lowest"] = _shown(found, found.low)
        facts |= {label: _shown(found, found.ranks.quantile(share)) for label, share in _SHARES.items()}
        facts["highest"] = _shown(found, found.high)
    if found.totals is not None and found.kind == "number":
        facts["mean"] = f"{found.totals.mean:.6g}"
        facts["standard deviation"] = f"{found.totals.deviation:.6g}"
    if found.shortest is not None:
        facts["lengths"] = f"{found.shortest} to {found.longest} characters"
    return facts


def _bars(ranks: RankSummary) -> list[float]:
    """Heights between 0 and 1 of at most 40 bars of equal width over the middle 98 % of the rows."""
    low, high = ranks.quantile(0.01), ranks.quantile(0.99)
    if low >= high:
        return []
    # No more bars than points, or a few whole numbers would look like a comb.
    count = min(_BARS, len(ranks.values))
    edges = [*(low + (high - low) * number / count for number in range(1, count)), high]
    reached = [0, *(ranks.rank(edge) for edge in edges)]
    heights = [after - before for before, after in pairwise(reached)]
    return [round(height / max(heights), 4) for height in heights]


def _ends(found: ColumnProfile) -> tuple[str, str]:
    if found.ranks is None:
        return "", ""
    return _shown(found, found.ranks.quantile(0.01)), _shown(found, found.ranks.quantile(0.99))


def _shown(found: ColumnProfile, value: float) -> str:
    if found.kind != "time":
        return f"{value:.6g}"
    try:
        return (_EPOCH + timedelta(seconds=value)).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError):
        return f"{value:.0f} s"  # before the year 1 or after 9999


def _share(part: int, rows: int) -> str:
    return f"{part:,} of {rows:,} rows ({part / rows:.2%})" if rows else "0 rows"
