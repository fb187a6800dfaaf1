"""Do groups of people, airlines or places fare alike? Rates by group, and how far apart they are.

Counts are taken per day and group, so that every interval respects that rows of one day are not independent, and that
groups share their days. :mod:`airflow_mlops.stats.spread` says how the intervals of gaps and ratios are made and why no
bootstrap of "largest minus smallest" is: that one is never 0, even where all groups are equal. The numbers themselves
are those of fairlearn's ``MetricFrame``: ``difference()`` and ``ratio()`` between groups.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.fairness_counts import Counts, count, groups_of
from airflow_mlops.evaluation.fairness_report import (
    METRICS,
    Apart,
    FairnessColumn,
    FairnessReport,
    GroupRates,
    RateSpread,
)
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.stats.delong import auc_influences
from airflow_mlops.stats.group_rates import covariance_of_influences, rates_by_group
from airflow_mlops.stats.interval import Interval, t_quantile
from airflow_mlops.stats.simultaneous import pair_tail
from airflow_mlops.stats.spread import Spread

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["FairnessSpec", "measure_fairness"]

_METHOD = "robust to dependence within days"


@dataclass(frozen=True, kw_only=True)
class FairnessSpec:
    """Whose treatment is compared.

    :param columns: columns that name each row's group; the model need not read them
    :param metrics: which rates; ``roc_auc`` only where it is named, since it takes the longest
    :param minimum_rows: smaller groups are named but not measured; None for the evaluation's own minimum for slices
    :param minimum_cases: a rate is measured in groups with as many rows that it is over: labelled positive for
        ``true_positive_rate``, labelled negative for ``false_positive_rate``, predicted positive for ``precision``
    :param maximum_groups: a column with more groups is refused: it wants to be binned first
    :param seed: of the draws behind the intervals
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...] = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision")
    minimum_rows: int | None = None
    minimum_cases: int = 30
    maximum_groups: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what asks for nothing."""
        if not self.columns:
            raise SpecificationError("fairness.columns", self.columns, "at least one column")
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise SpecificationError("fairness.metrics", ", ".join(unknown), "one or more of " + ", ".join(METRICS))
        for name, least in (("minimum_rows", 1), ("minimum_cases", 1), ("maximum_groups", 2), ("seed", 0)):
            given = getattr(self, name)
            if given is not None and given < least:
                raise SpecificationError(f"fairness.{name}", given, f"at least {least}")


def measure_fairness(spec: FairnessSpec, subject: Subject) -> FairnessReport:
    """Measure the candidate group by group, column by column.

    :raises ContractError: if a column is missing or has too many groups
    """
    import numpy as np

    if not np.isin(subject.labels, (0, 1)).all():
        raise ContractError("fairness compares rates of labels and answers that are yes or no: labels must be 0 or 1")
    missing = [name for name in spec.columns if name not in subject.rows.columns]
    if missing:
        raise ContractError(f"fairness: the data lack the columns {', '.join(missing)}")
    return FairnessReport(
        threshold=subject.threshold,
        confidence=subject.confidence,
        minimum_rows=subject.minimum_rows if spec.minimum_rows is None else spec.minimum_rows,
        minimum_cases=spec.minimum_cases,
        columns=tuple(_column(spec, subject, column) for column in spec.columns),
        seed=spec.seed,
    )


def _column(spec: FairnessSpec, subject: Subject, column: str) -> FairnessColumn:
    import numpy as np

    names, groups = groups_of(subject.rows[column])
    if len(names) > spec.maximum_groups:
        raise ContractError(
            f"fairness: the column {column} has {len(names)} groups and at most {spec.maximum_groups} are compared; "
            "make fewer of it (age in bands, for example) or raise maximum_groups"
        )
    counts = count(subject, subject.candidate.scores, groups, len(names))
    sizes = counts.rows.sum(axis=0)
    least = subject.minimum_rows if spec.minimum_rows is None else spec.minimum_rows
    large = np.flatnonzero(sizes >= least)
    spreads, unmeasured = {}, {}
    rates: dict[int, dict[str, Estimate]] = {index: {} for index in large.tolist()}
    for metric in spec.metrics:
        chosen = counts.measurable(metric, large, spec.minimum_cases)
        if len(chosen) < 2:
            unmeasured[metric] = f"{len(chosen)} of {len(names)} groups have enough rows and days, and two are compared"
            continue
        spread = _spread(spec, subject, metric, counts, chosen)
        spreads[metric] = _named(spread, metric, counts, chosen, names)
        for index, estimate in zip(chosen.tolist(), _estimates(spread), strict=True):
            rates[index][metric] = estimate
    return FairnessColumn(
        column=column,
        groups=tuple(_group(names[index], index, counts, rates[index]) for index in large.tolist()),
        small_groups={names[index]: int(sizes[index]) for index in np.flatnonzero(sizes < least).tolist()},
        spreads=spreads,
        unmeasured=unmeasured,
        champion=_champion(spec, subject, groups, spreads, names),
    )


def _champion(
    spec: FairnessSpec, subject: Subject, groups: Any, candidate: Mapping[str, RateSpread], names: list[str]
) -> dict[str, Apart]:
    """Measure the champion in the groups in which the candidate was, as far as it has the cases there."""
    import numpy as np

    if subject.champion is None:
        return {}
    counts, found = count(subject, subject.champion.scores, groups, len(names)), {}
    for metric, spread in candidate.items():
        same = np.flatnonzero(np.isin(names, spread.groups))
        if len(counts.measurable(metric, same, spec.minimum_cases)) == len(same):
            one = _named(_spread(spec, subject, metric, counts, same), metric, counts, same, names)
            found[metric] = Apart(gap=one.gap, ratio=one.ratio)
    return found


def _spread(spec: FairnessSpec, subject: Subject, metric: str, counts: Counts, chosen: Any) -> Spread:
    hits, totals = (found[:, chosen] for found in counts.of(metric))
    if metric == "roc_auc":
        values, covariance = _areas(subject, counts, chosen)
    else:
        values, covariance = rates_by_group(hits, totals)
    tail = pair_tail(values, covariance, beyond=(1 - subject.confidence) / 2, seed=spec.seed)
    return Spread(
        values=values.tolist(),
        covariance=covariance.tolist(),
        clusters=(totals > 0).sum(axis=0).tolist(),
        tail=tail,
        confidence=subject.confidence,
    )


def _areas(subject: Subject, counts: Counts, chosen: Any) -> tuple[Any, Any]:
    import numpy as np

    areas, columns = [], []
    for index in chosen.tolist():
        inside = counts.group == index
        area, influences = auc_influences(subject.labels[inside], counts.scores[inside])
        areas.append(area)
        columns.append(np.bincount(counts.day[inside], weights=influences, minlength=len(counts.rows)))
    return np.asarray(areas), covariance_of_influences(np.stack(columns, axis=1))


def _estimates(spread: Spread) -> list[Estimate]:
    found = []
    for index, value in enumerate(spread.values):
        reach = t_quantile(spread.confidence, spread.clusters[index] - 1) * math.sqrt(spread.covariance[index][index])
        found.append(Estimate(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach), method=_METHOD))
    return found


def _named(spread: Spread, metric: str, counts: Counts, chosen: Any, names: list[str]) -> RateSpread:
    gap = spread.difference()
    ratio = spread.ratio() if max(spread.values) > 0 else None
    return RateSpread(
        groups=tuple(names[index] for index in chosen.tolist()),
        rows=tuple(counts.rows[:, chosen].sum(axis=0).tolist()),
        cases=tuple(counts.of(metric)[1][:, chosen].sum(axis=0).tolist()),
        values=tuple(spread.values),
        covariance=tuple(tuple(row) for row in spread.covariance),
        clusters=tuple(spread.clusters),
        tail=spread.tail,
        gap=_estimate(gap, "all pairs of groups"),
        ratio=None if ratio is None else _estimate(ratio, "all pairs of groups, Fieller"),
    )


def _estimate(found: Interval, method: str) -> Estimate:
    return Estimate(value=found.value, low=found.low, high=found.high, method=method)


def _group(name: str, index: int, counts: Counts, rates: Mapping[str, Estimate]) -> GroupRates:
    return GroupRates(
        name=name,
        rows=int(counts.rows[:, index].sum()),
        positives=int(counts.positives[:, index].sum()),
        selected=int(counts.selected[:, index].sum()),
        days=int((counts.rows[:, index] > 0).sum()),
        rates=rates,
    )
