"""Does an exported model answer as the one that it was made from? Bounds, what was found, and whether it is enough.

A conversion is not exact: numbers become 32 bits wide, and a value beside a split of a tree may end up on its other
side, which changes a whole step of the answer. How often that happens depends on the data, so real rows decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["OnnxSpec", "ParityReport", "broken_bounds", "measure_parity"]


@dataclass(frozen=True, kw_only=True)
class OnnxSpec:
    """How a model is exported and how far it may differ from the original; every bound must hold.

    :param numbers: width of the numbers that the graph reads: ``float`` has 32 bits, which every operator takes;
        ``double`` has 64, which some do not
    :param target_opset: version of ONNX's operators; None for the newest that the converter knows
    :param minimum_rows: on fewer rows nothing is shown
    :param threshold: probability from which a row counts as predicted positive
    :param minimum_agreement: share of rows that both call the same, for models with probabilities
    :param maximum_median: bound on the median absolute difference, in the answer's unit
    :param maximum_p99: bound on the 99th percentile of the absolute difference
    :param maximum: bound on the largest absolute difference
    """

    numbers: Literal["float", "double"] = "float"
    target_opset: int | None = None
    minimum_rows: int = 500
    threshold: float = 0.5
    minimum_agreement: float = 0.999
    maximum_median: float = 1e-5
    maximum_p99: float = 1e-3
    maximum: float = 0.05

    def __post_init__(self) -> None:
        """Refuse bounds that nothing could break or keep."""
        if self.minimum_rows < 1:
            raise SpecificationError("parity.minimum_rows", self.minimum_rows, "at least 1")
        if not 0 < self.threshold < 1:
            raise SpecificationError("parity.threshold", self.threshold, "a number between 0 and 1")
        if not 0 < self.minimum_agreement <= 1:
            raise SpecificationError("parity.minimum_agreement", self.minimum_agreement, "a share above 0, at most 1")
        for name in ("maximum_median", "maximum_p99", "maximum"):
            if not getattr(self, name) >= 0:
                raise SpecificationError(f"parity.{name}", getattr(self, name), "0 or a number above")


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """Two models' answers to the same rows.

    :param rows: how many
    :param agreement: share that both call the same; None for models without probabilities
    :param median: median absolute difference
    :param p99: 99th percentile
    :param maximum: largest
    :param beyond: rows that differ by more than 0.001
    """

    rows: int
    agreement: float | None
    median: float
    p99: float
    maximum: float
    beyond: int


def measure_parity(original: Any, exported: Any, *, threshold: float | None) -> ParityReport:
    """Compare answers row by row.

    :param original: array of the original's answers
    :param exported: array of the exported model's, in the same order
    :param threshold: probability from which a row counts as positive; None where answers are no probabilities
    :raises ContractError: if there are not as many answers, or some are no numbers
    """
    import numpy as np

    original, exported = np.asarray(original, dtype="float64"), np.asarray(exported, dtype="float64")
    if exported.shape != original.shape or not len(original):
        raise ContractError(f"the exported model gave {exported.shape} answers and the original {original.shape}")
    if not np.isfinite(exported).all():
        raise ContractError(
            f"the exported model gave {int((~np.isfinite(exported)).sum()):,} answers that are no numbers"
        )
    away = np.abs(exported - original)
    agree = None if threshold is None else float(((exported >= threshold) == (original >= threshold)).mean())
    return ParityReport(
        rows=len(away),
        agreement=agree,
        median=float(np.quantile(away, 0.5)),
        p99=float(np.quantile(away, 0.99)),
        maximum=float(away.max()),
        beyond=int((away > 1e-3).sum()),
    )


def broken_bounds(found: ParityReport, spec: OnnxSpec) -> tuple[str, ...]:
    """Say which bounds do not hold; empty for parity."""
    broken = []
    if found.rows < spec.minimum_rows:
        broken.append(f"{found.rows:,} rows, at least {spec.minimum_rows:,} are asked for")
    if found.agreement is not None and found.agreement < spec.minimum_agreement:
        broken.append(
            f"{100 * found.agreement:.3f} % called the same, at least {100 * spec.minimum_agreement:g} % asked for"
        )
    for name, what in (("median", "median"), ("p99", "99th percentile"), ("maximum", "largest")):
        bound = spec.maximum if name == "maximum" else getattr(spec, f"maximum_{name}")
        if getattr(found, name) > bound:
            broken.append(f"{what} difference {getattr(found, name):.3g}, at most {bound:g} accepted")
    return tuple(broken)
