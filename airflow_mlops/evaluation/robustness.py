"""What becomes of the answers when the rows are a little wrong: how many flip, and how much the metrics lose.

The rows of the evaluation are disturbed with a fixed seed, and the model answers once more. Losses are measured row by
row against its own answers on the undisturbed rows, so they need far fewer rows than two separate measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.perturbation import KINDS, Kind, applicable, perturb
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.delong import auc_difference
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.share_interval import share_interval

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject

__all__ = ["LOSSES", "Disturbed", "Response", "RobustnessReport", "RobustnessSpec", "measure_robustness"]


@dataclass(frozen=True, kw_only=True)
class RobustnessSpec:
    """How the rows are disturbed; each size is a disturbance by itself, and empty leaves a kind out.

    :param noise: normal noise on every number, in standard deviations of its column
    :param missing: share of cells that are made missing, in every column
    :param swaps: share of cells that get the value of another row, in every column that holds no numbers
    :param columns: what is disturbed; empty for all that the candidate reads
    :param maximum_rows: of more rows only so many are disturbed, drawn at random
    :param seed: of all draws
    """

    noise: tuple[float, ...] = (0.1,)
    missing: tuple[float, ...] = (0.05,)
    swaps: tuple[float, ...] = (0.05,)
    columns: tuple[str, ...] = ()
    maximum_rows: int = 20_000
    seed: int = 2013

    def __post_init__(self) -> None:
        """Refuse disturbances that are none."""
        if not (self.noise or self.missing or self.swaps):
            raise SpecificationError("robustness", "no sizes", "at least one size under noise, missing or swaps")
        if not all(size > 0 for size in self.noise):
            raise SpecificationError("robustness.noise", self.noise, "numbers above 0")
        for name in ("missing", "swaps"):
            if not all(0 < size <= 1 for size in getattr(self, name)):
                raise SpecificationError(f"robustness.{name}", getattr(self, name), "shares above 0, at most 1")
        if self.maximum_rows < 1:
            raise SpecificationError("robustness.maximum_rows", self.maximum_rows, "at least 1")
        if self.seed < 0:
            raise SpecificationError("robustness.seed", self.seed, "0 or a number above 0")


@dataclass(frozen=True, kw_only=True)
class Response:
    """How one model answered disturbed rows.

    :param flips: share of rows whose predicted class changed; None for a model that predicts numbers
    :param shift: mean distance between the two answers
    :param losses: name of a loss to how much worse it became; below 0 is better
    :param unmeasured: flips, or the name of a loss, to the reason why there is no number
    """

    flips: Estimate | None = None
    shift: float | None = None
    losses: Mapping[str, Estimate] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """One disturbance and what it did.

    :param kind: ``noise``, ``missing`` or ``swaps``
    :param size: see :class:`RobustnessSpec`
    :param columns: how many columns were disturbed
    :param candidate: the candidate
    :param champion: the champion on the same rows
    """

    kind: Kind
    size: float
    columns: int
    candidate: Response
    champion: Response | None = None


@dataclass(frozen=True, kw_only=True)
class RobustnessReport:
    """What was found.

    :param rows: how many rows were disturbed
    :param confidence: two-sided coverage of all intervals
    :param disturbances: one after the other
    """

    rows: int
    confidence: float
    disturbances: tuple[Disturbed, ...]


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows that are disturbed."""

    frame: Any
    labels: Any
    days: Any
    chosen: Any
    binary: bool
    threshold: float
    confidence: float
    seed: int


def measure_robustness(spec: RobustnessSpec, subject: Subject) -> RobustnessReport:
    """Disturb the rows and let both models answer.

    :raises ContractError: if the rows lack a column that is to be disturbed
    """
    import numpy as np

    columns = spec.columns or tuple(subject.candidate.features)
    missing = [name for name in columns if name not in subject.rows.columns]
    if missing:
        raise ContractError(f"robustness.columns: the rows lack {', '.join(missing)}")
    labels, chosen = np.asarray(subject.labels), np.arange(len(subject.labels))
    if len(chosen) > spec.maximum_rows:
        drawn = np.random.default_rng(spec.seed).choice(len(chosen), spec.maximum_rows, replace=False)
        chosen = np.sort(drawn)
    _, days = np.unique(np.asarray(subject.days)[chosen], return_inverse=True)
    rows = _Rows(
        frame=subject.rows.iloc[chosen],
        labels=labels[chosen],
        days=days if days.max() > 0 else None,
        chosen=chosen,
        binary=bool(np.isin(labels, (0, 1)).all()),
        threshold=subject.threshold,
        confidence=subject.confidence,
        seed=spec.seed,
    )
    found = tuple(_disturbed(subject, rows, columns, kind, size) for kind in KINDS for size in getattr(spec, kind))
    return RobustnessReport(rows=len(chosen), confidence=subject.confidence, disturbances=found)


def _disturbed(subject: Subject, rows: _Rows, columns: tuple[str, ...], kind: Kind, size: float) -> Disturbed:
    hit = applicable(rows.frame, columns, kind)
    frame = perturb(rows.frame, hit, kind, size, rows.seed)
    champion = subject.champion
    return Disturbed(
        kind=kind,
        size=size,
        columns=len(hit),
        candidate=_response(subject.candidate, rows, frame, hit),
        champion=None if champion is None else _response(champion, rows, frame, hit),
    )


def _response(model: Diagnosed, rows: _Rows, frame: Any, hit: list[str]) -> Response:
    import numpy as np

    names = ("flips", *LOSSES)
    if not set(hit) & set(model.features):
        return Response(unmeasured=dict.fromkeys(names, "the model reads no column that this disturbs"))
    before = np.asarray(model.scores, dtype="float64")[rows.chosen]
    try:
        after = np.asarray(model.predict(frame), dtype="float64")
    except (ContractError, TypeError, ValueError) as error:
        # What scikit-learn says about rows that it cannot take; a model that gives no answer has shown nothing.
        why = f"the model does not answer such rows: {str(error).splitlines()[0][:200]}"
        return Response(unmeasured=dict.fromkeys(names, why))
    none = int((~np.isfinite(after)).sum())
    if none:
        why = f"the model's answer to {none:,} of {len(after):,} such rows is no number"
        return Response(unmeasured=dict.fromkeys(names, why))
    losses, unmeasured = {}, {}
    for name, (binary, method, measured) in LOSSES.items():
        if binary is not rows.binary:
            unmeasured[name] = f"it is for models that predict {'probabilities' if binary else 'numbers'}"
            continue
        try:
            found = measured(rows, before, after)
            losses[name] = Estimate(value=found.value, low=found.low, high=found.high, method=method)
        except SpecificationError as error:
            unmeasured[name] = str(error)
    flips = None
    if rows.binary:
        share = share_interval(
            (before >= rows.threshold) != (after >= rows.threshold), rows.days, confidence=rows.confidence
        )
        flips = Estimate(value=share.value, low=share.low, high=share.high, method="Wilson and days, the wider")
    else:
        unmeasured["flips"] = "the model predicts numbers, which do not flip"
    shift = float(np.abs(after - before).mean())
    return Response(flips=flips, shift=shift, losses=losses, unmeasured=unmeasured)


def _auc_loss(rows: _Rows, before: Any, after: Any) -> Interval:
    return auc_difference(rows.labels, before, after, clusters=rows.days, confidence=rows.confidence)


def _squared_loss(rows: _Rows, before: Any, after: Any) -> Interval:
    import numpy as np

    worse = (after - rows.labels) ** 2 - (before - rows.labels) ** 2
    return cluster_mean(worse, np.arange(len(worse)) if rows.days is None else rows.days, confidence=rows.confidence)


def _absolute_loss(rows: _Rows, before: Any, after: Any) -> Interval:
    import numpy as np

    worse = np.abs(after - rows.labels) - np.abs(before - rows.labels)
    return cluster_mean(worse, np.arange(len(worse)) if rows.days is None else rows.days, confidence=rows.confidence)


#: Name of a loss to whether it is for probabilities, how its interval is made, and the measurement.
LOSSES: Mapping[str, tuple[bool, str, Callable[[_Rows, Any, Any], Interval]]] = {
    "roc_auc": (True, "paired DeLong, summed within days", _auc_loss),
    "brier": (True, "paired mean, robust to dependence within days", _squared_loss),
    "mean_squared_error": (False, "paired mean, robust to dependence within days", _squared_loss),
    "mean_absolute_error": (False, "paired mean, robust to dependence within days", _absolute_loss),
}
