"""Measurements of the order of each query's rows, averaged over the queries.

A query without any relevant row counts 0, as scikit-learn has it. Rows with the same score: NDCG takes the mean over
their orders, as scikit-learn does; the other two take the worst place, so that a model that scores all alike gains
nothing.

Sources: K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM Transactions on
Information Systems 20 (2002); for ties F. McSherry and M. Najork, "Computing information retrieval performance measures
efficiently in the presence of tied scores", ECIR 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_mlops.evaluation.metric import Metric
from airflow_mlops.evaluation.scored import Scored
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.interval import Interval

__all__ = ["RANKING_METRICS"]


@dataclass(frozen=True, kw_only=True)
class _Order:
    """Rows query by query, best score first.

    :param query: number of each row's query
    :param queries: how many there are
    :param first: position of each query's first row
    :param tie: number of each row's run of equal scores in one query
    :param place: each row's place in its query, from 1
    :param worst: the last place among those with the same score
    :param relevance: each row's label
    :param days: each query's group
    """

    query: Any
    queries: int
    first: Any
    tie: Any
    place: Any
    worst: Any
    relevance: Any
    days: Any


def _ordered(rows: Scored) -> _Order:
    import numpy as np

    names, codes = np.unique(rows.queries, return_inverse=True)
    _, days = np.unique(rows.days, return_inverse=True)
    order = np.lexsort((-rows.scores, codes))
    query, scores = codes[order], rows.scores[order]
    first = np.searchsorted(query, np.arange(len(names)))
    place = np.arange(len(query)) - first[query] + 1
    starts = np.r_[True, (np.diff(query) != 0) | (np.diff(scores) != 0)]
    tie = np.cumsum(starts) - 1
    worst = np.r_[place[np.flatnonzero(starts)[1:] - 1], place[-1]][tie]
    by_query = days[order][first]
    if (days[order] != by_query[query]).any():
        raise SpecificationError("day_column", "queries whose rows lie in several groups", "one group for each query")
    return _Order(
        query=query,
        queries=len(names),
        first=first,
        tie=tie,
        place=place,
        worst=worst,
        relevance=rows.labels[order].astype("float64"),
        days=by_query,
    )


def _ndcg(rows: Scored) -> tuple[Any, Any]:
    import numpy as np

    order = _ordered(rows)
    discount = np.where(order.place <= rows.cutoff, 1 / np.log2(order.place + 1), 0.0)
    sizes = np.bincount(order.tie)
    gain = np.bincount(order.tie, weights=order.relevance) / sizes
    found = np.bincount(order.query, weights=gain[order.tie] * discount, minlength=order.queries)
    ideal_order = np.lexsort((-order.relevance, order.query))
    ideal = np.bincount(order.query, weights=order.relevance[ideal_order] * discount, minlength=order.queries)
    return np.divide(found, ideal, out=np.zeros(order.queries), where=ideal > 0), order.days


def _mrr(rows: Scored) -> tuple[Any, Any]:
    import numpy as np

    order = _ordered(rows)
    inverse = np.where((order.relevance > 0) & (order.worst <= rows.cutoff), 1 / order.worst, 0.0)
    return np.maximum.reduceat(inverse, order.first), order.days


def _map(rows: Scored) -> tuple[Any, Any]:
    import numpy as np

    order = _ordered(rows)
    relevant = (order.relevance > 0).astype("float64")
    above = np.cumsum(relevant)
    before = above[order.first] - relevant[order.first]
    last = np.r_[np.flatnonzero(np.diff(order.tie)), len(order.tie) - 1][order.tie]
    precision = (above[last] - before[order.query]) / order.worst
    found = np.bincount(order.query, weights=precision * relevant, minlength=order.queries)
    count = np.bincount(order.query, weights=relevant, minlength=order.queries)
    return np.divide(found, count, out=np.zeros(order.queries), where=count > 0), order.days


def _ranking_metric(name: str, by_query: Callable[[Scored], tuple[Any, Any]]) -> Metric:
    def interval(rows: Scored, confidence: float) -> Interval:
        values, days = by_query(rows)
        found = cluster_mean(values, days, confidence=confidence)
        return Interval(value=found.value, low=max(0.0, found.low), high=min(max(1.0, found.value), found.high))

    def difference(first: Scored, second: Scored, confidence: float) -> Interval:
        values, days = by_query(first)
        other, _ = by_query(second)
        return cluster_mean(values - other, days, confidence=confidence)

    method = "mean over the queries, robust to dependence within days"
    return Metric(
        name=name,
        greater_is_better=True,
        by_day=True,
        method=(method, f"paired {method}"),
        interval=interval,
        difference=difference,
        task="ranking",
    )


RANKING_METRICS = (_ranking_metric("ndcg", _ndcg), _ranking_metric("mrr", _mrr), _ranking_metric("map", _map))
