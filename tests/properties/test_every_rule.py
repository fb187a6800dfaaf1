"""Every bound that a policy can set: a candidate that is bad enough fails it, and a worse one is never judged better.

``CASES`` holds one case for each; a section or a bound without one fails here. A case is a policy's section and a way
from a good candidate (0) to a bad one (1), on which it gets worse and worse.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.evaluation import policy as policy_module
from airflow_mlops.evaluation.budgets import BudgetsReport, Latency, Percentiles
from airflow_mlops.evaluation.calibration import CalibrationReport, ModelCalibration
from airflow_mlops.evaluation.diagnostics import DiagnosticsReport
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.explanations import Agreement, ExplanationsReport, Importance
from airflow_mlops.evaluation.fairness_report import FairnessColumn, FairnessReport, GroupRates, RateSpread
from airflow_mlops.evaluation.feature_power import FeaturePower
from airflow_mlops.evaluation.freshness import Age, FreshnessReport
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.leakage import EntityOverlap, LeakageReport, RowOverlap, TimeOverlap
from airflow_mlops.evaluation.policy import GatePolicy, parse_policy
from airflow_mlops.evaluation.report import DayReference, EvaluationReport, Measurements, Reference, SliceReport
from airflow_mlops.evaluation.robustness import Disturbed, Response, RobustnessReport
from airflow_mlops.verdict import Verdict, combine

GOODNESS = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS)
#: Fields of rules that set no bound: what a rule is about, and how strictly it is taken.
SETTINGS = {
    "absolute": {"metric", "severity"},
    "non_inferiority": {"metric", "severity"},
    "superiority": {"metric", "severity"},
    "slices": {"metric", "columns", "correction", "min_rows", "undecided", "too_little_data", "severity"},
    "fairness": {"column", "metric", "min_rows", "severity"},
    "calibration": {"significance", "severity"},
    "robustness": {"severity"},
    "budgets": {"latency_severity", "severity"},
    "leakage": {"severity"},
    "freshness": {"severity"},
    "explanations": {"severity"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A section with one bound, and the reports of candidates that get worse.

    :param rule: the section, as a policy has it; a list where it takes several rules
    :param at: how bad, from 0 to 1, to a report
    :param severities: the rule's fields that decide whether it only warns
    """

    rule: Any
    at: Callable[[float], EvaluationReport]
    severities: tuple[str, ...] = ("severity",)


def estimate(value: float, reach: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - reach, high=value + reach, method="made up")


def report(**changes: Any) -> EvaluationReport:
    measured = Measurements(
        rows=20_000, positives=5_000, metrics={"roc_auc": estimate(0.7), "brier": estimate(0.15)}, days=30
    )
    return EvaluationReport(
        **{
            "target": "late",
            "confidence": 0.95,
            "days": 30,
            "candidate": measured,
            "champion": measured,
            "reference": Reference(
                rows=1,
                label_rate=0.2,
                mean_prediction=0.2,
                brier=0.1,
                by_day=(DayReference(day="d", rows=1, label_sum=0, prediction_sum=0.1, brier_sum=0.0),),
            ),
            **changes,
        }
    )


def measured(name: str, value: float) -> EvaluationReport:
    found = report()
    metrics = {**found.candidate.metrics, name: estimate(value)}
    return dataclasses.replace(found, candidate=dataclasses.replace(found.candidate, metrics=metrics))


def compared(name: str, value: float) -> EvaluationReport:
    return report(differences={name: estimate(value)})


def sliced(metric: float, difference: float) -> EvaluationReport:
    def part(value: str, one: float, other: float) -> SliceReport:
        found = Measurements(
            rows=5000, positives=1000, metrics={"roc_auc": estimate(one), "brier": estimate(1 - one)}, days=30
        )
        return SliceReport(column="origin", value=value, candidate=found, differences={"roc_auc": estimate(other)})

    return report(slices=(part("EWR", 0.9, 0.0), part("JFK", metric, difference)))


def diagnosed(**section: Any) -> EvaluationReport:
    return report(diagnostics=DiagnosticsReport(**section))


def fair(worst: float) -> EvaluationReport:
    """Two groups of which one is selected less and less often."""
    spread = RateSpread(
        groups=("a", "b"),
        rows=(9000, 9000),
        cases=(9000, 9000),
        values=(0.5, worst),
        covariance=((0.0001, 0.0), (0.0, 0.0001)),
        clusters=(30, 30),
        tail=0.025,
        gap=estimate(0.5 - worst),
        ratio=estimate(worst / 0.5),
    )
    groups = tuple(GroupRates(name=name, rows=9000, positives=1000, selected=1000, days=30) for name in "ab")
    column = FairnessColumn(column="origin", groups=groups, spreads={"selection_rate": spread})
    found = FairnessReport(threshold=0.5, confidence=0.95, minimum_rows=1, minimum_cases=1, columns=(column,))
    return diagnosed(fairness=found)


def calibrated(*, error: float = 0.01, slope: float = 1.0, intercept: float = 0.0) -> EvaluationReport:
    found = ModelCalibration(
        error=estimate(error, 0.005),
        chance=0.01,
        p_value=0.5 if error < 0.02 else 0.0001,
        grouped_p_value=0.5 if error < 0.02 else 0.0001,
        bins=(),
        slope=estimate(slope),
        intercept=estimate(intercept),
    )
    return diagnosed(calibration=CalibrationReport(rows=1000, confidence=0.95, candidate=found))


def disturbed(kind: str, *, flips: float = 0.0, loss: float = 0.0) -> EvaluationReport:
    response = Response(flips=estimate(flips), shift=0.0, losses={"roc_auc": estimate(loss)})
    found = Disturbed(kind=kind, size=0.1, columns=3, candidate=response)
    return diagnosed(robustness=RobustnessReport(rows=1000, confidence=0.95, disturbances=(found,)))


def costing(*, p95: float = 1.0, ratio: float = 1.0, size: int = 100, peak: int = 100) -> EvaluationReport:
    times = Percentiles(p50=estimate(p95), p95=estimate(p95), p99=estimate(p95))
    latency = Latency(batch=1, repetitions=100, candidate=times, champion=times, ratio=estimate(ratio))
    found = BudgetsReport(
        confidence=0.95, latencies=(latency,), candidate_bytes=size, champion_bytes=100, candidate_peak_bytes=peak
    )
    return diagnosed(budgets=found)


def knowing(
    *, rows: float = 0.0, entities: float = 0.0, time: float = 0.0, power: float = 0.6, late: bool = False
) -> EvaluationReport:
    found = LeakageReport(
        evaluation_rows=1000,
        confidence=0.95,
        training_rows=1000,
        rows=RowOverlap(columns=3, rows=int(1000 * rows), share=rows, repeated_share=0.0),
        entities=(EntityOverlap(column="customer", entities=9, known=1, row_share=entities),),
        time=TimeOverlap(column="day", latest_training="a", earliest_evaluation="b", rows=int(1000 * time), share=time),
        features=(FeaturePower(feature="f", measure="roc_auc", power=estimate(power)),),
        late_columns=("dep_delay",) if late else (),
    )
    return diagnosed(leakage=found)


def aged(*, evaluation: float = 1.0, training: float = 1.0) -> EvaluationReport:
    ages = (Age(newest="d", days=evaluation), Age(newest="d", days=training))
    return diagnosed(freshness=FreshnessReport(now="n", evaluation=ages[0], training=ages[1]))


def explained(agreement: float) -> EvaluationReport:
    important = Importance(column="dep_delay", candidate=estimate(0.1), champion=estimate(0.1))
    found = Agreement(rank_correlation=estimate(agreement), top_overlap=estimate(agreement), top=5)
    return diagnosed(
        explanations=ExplanationsReport(method="m", unit="u", rows=1000, importances=(important,), agreement=found)
    )


CASES: dict[tuple[str, str], Case] = {
    ("absolute", "minimum"): Case(
        rule=[{"metric": "roc_auc", "minimum": 0.6}], at=lambda bad: measured("roc_auc", 0.7 - 0.2 * bad)
    ),
    ("absolute", "maximum"): Case(
        rule=[{"metric": "brier", "maximum": 0.2}], at=lambda bad: measured("brier", 0.1 + 0.2 * bad)
    ),
    ("non_inferiority", "margin"): Case(
        rule=[{"metric": "roc_auc", "margin": 0.02}], at=lambda bad: compared("roc_auc", 0.01 - 0.1 * bad)
    ),
    ("superiority", "margin"): Case(
        rule=[{"metric": "brier", "margin": 0.01}], at=lambda bad: compared("brier", -0.05 + 0.1 * bad)
    ),
    ("slices", "margin"): Case(
        rule=[{"metric": "roc_auc", "margin": 0.05}], at=lambda bad: sliced(0.7, 0.0 - 0.3 * bad)
    ),
    ("slices", "minimum"): Case(
        rule=[{"metric": "roc_auc", "minimum": 0.6}], at=lambda bad: sliced(0.7 - 0.3 * bad, 0.0)
    ),
    ("slices", "maximum"): Case(
        rule=[{"metric": "brier", "maximum": 0.4}], at=lambda bad: sliced(0.7 - 0.3 * bad, 0.0)
    ),
    ("fairness", "max_gap"): Case(
        rule=[{"column": "origin", "metric": "selection_rate", "max_gap": 0.2}], at=lambda bad: fair(0.5 - 0.45 * bad)
    ),
    ("fairness", "min_ratio"): Case(
        rule=[{"column": "origin", "metric": "selection_rate", "min_ratio": 0.8}], at=lambda bad: fair(0.5 - 0.45 * bad)
    ),
    ("calibration", "maximum_error"): Case(
        rule={"maximum_error": 0.05}, at=lambda bad: calibrated(error=0.01 + 0.2 * bad)
    ),
    ("calibration", "maximum_slope_deviation"): Case(
        rule={"maximum_slope_deviation": 0.2}, at=lambda bad: calibrated(slope=1 + bad)
    ),
    ("calibration", "maximum_intercept"): Case(
        rule={"maximum_intercept": 0.2}, at=lambda bad: calibrated(intercept=bad)
    ),
    ("robustness", "noise"): Case(
        rule={"noise": {"maximum_flips": 0.1}}, at=lambda bad: disturbed("noise", flips=0.02 + 0.3 * bad)
    ),
    ("robustness", "missing"): Case(
        rule={"missing": {"maximum_loss": {"roc_auc": 0.1}}}, at=lambda bad: disturbed("missing", loss=0.3 * bad)
    ),
    ("robustness", "swaps"): Case(
        rule={"swaps": {"maximum_flips": 0.1}}, at=lambda bad: disturbed("swaps", flips=0.02 + 0.3 * bad)
    ),
    ("budgets", "maximum_p95_ms"): Case(
        rule={"maximum_p95_ms": {"1": 2.0}},
        at=lambda bad: costing(p95=1 + 3 * bad),
        severities=("severity", "latency_severity"),
    ),
    ("budgets", "maximum_latency_ratio"): Case(
        rule={"maximum_latency_ratio": 2.0},
        at=lambda bad: costing(ratio=1 + 3 * bad),
        severities=("severity", "latency_severity"),
    ),
    ("budgets", "maximum_bytes"): Case(rule={"maximum_bytes": 200}, at=lambda bad: costing(size=100 + int(900 * bad))),
    ("budgets", "maximum_bytes_ratio"): Case(
        rule={"maximum_bytes_ratio": 2.0}, at=lambda bad: costing(size=100 + int(900 * bad))
    ),
    ("budgets", "maximum_peak_bytes"): Case(
        rule={"maximum_peak_bytes": 200}, at=lambda bad: costing(peak=100 + int(900 * bad))
    ),
    ("leakage", "maximum_row_overlap"): Case(rule={"maximum_row_overlap": 0.1}, at=lambda bad: knowing(rows=0.5 * bad)),
    ("leakage", "maximum_entity_overlap"): Case(
        rule={"maximum_entity_overlap": 0.1}, at=lambda bad: knowing(entities=0.5 * bad)
    ),
    ("leakage", "training_before_evaluation"): Case(
        rule={"training_before_evaluation": True}, at=lambda bad: knowing(time=0.5 * bad)
    ),
    ("leakage", "maximum_feature_power"): Case(
        rule={"maximum_feature_power": 0.9}, at=lambda bad: knowing(power=0.6 + 0.38 * bad)
    ),
    ("leakage", "forbid_late_columns"): Case(
        rule={"forbid_late_columns": True}, at=lambda bad: knowing(late=bad > 0.5)
    ),
    ("freshness", "maximum_evaluation_days"): Case(
        rule={"maximum_evaluation_days": 10}, at=lambda bad: aged(evaluation=1 + 30 * bad)
    ),
    ("freshness", "maximum_training_days"): Case(
        rule={"maximum_training_days": 10}, at=lambda bad: aged(training=1 + 30 * bad)
    ),
    ("explanations", "min_rank_agreement"): Case(
        rule=[{"min_rank_agreement": 0.5}], at=lambda bad: explained(0.9 - 0.9 * bad)
    ),
}
SECTIONS = policy_module._SECTIONS


def _takes_several(section: str) -> bool:
    return typing.get_origin(typing.get_type_hints(GatePolicy)[section]) is tuple


def _policy(section: str, case: Case, severity: str) -> GatePolicy:
    several = case.rule if isinstance(case.rule, list) else [case.rule]
    rules = [rule | dict.fromkeys(case.severities, severity) for rule in several]
    minimum = {"minimum_rows": {"rows": 100, "positives": 10}}
    return parse_policy({**minimum, section: rules if _takes_several(section) else rules[0]})


def _bounds(section: str) -> set[str]:
    hint = typing.get_type_hints(GatePolicy)[section]
    (rule,) = (one for one in typing.get_args(hint) if dataclasses.is_dataclass(one))
    return {field.name for field in dataclasses.fields(rule)} - SETTINGS[section]


def test_every_bound_of_every_section_has_a_case():
    assert set(SETTINGS) == set(SECTIONS), "say in SETTINGS which fields of the new section's rule set no bound"
    wanted = {(section, bound) for section in SECTIONS for bound in _bounds(section)}
    assert set(CASES) == wanted, "a rule without a case can be one that never fails: add it to CASES"


@pytest.mark.parametrize(("section", "bound"), CASES)
def test_it_can_fail_and_it_can_be_kept(section, bound):
    case = CASES[section, bound]
    rule = _policy(section, case, "fail")
    assert combine(judge(case.at(0.0), rule)).promotes
    assert combine(judge(case.at(1.0), rule)) is Verdict.FAIL
    warned = judge(case.at(1.0), _policy(section, case, "warn"))
    assert combine(warned) is Verdict.WARN


@pytest.mark.parametrize(("section", "bound"), CASES)
def test_without_its_numbers_nothing_is_shown(section, bound):
    """What was not measured never promotes, whatever the severity."""
    case = CASES[section, bound]
    empty = report(diagnostics=None)
    bare = dataclasses.replace(
        empty, candidate=dataclasses.replace(empty.candidate, metrics={}), differences={}, slices=()
    )
    assert not combine(judge(bare, _policy(section, case, "warn"))).promotes


@pytest.mark.parametrize(("section", "bound"), CASES)
def test_a_worse_candidate_is_never_judged_better(section, bound):
    case = CASES[section, bound]

    @settings(deadline=None, max_examples=30)
    @given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["fail", "warn"]))
    def holds(one, other, severity):
        rule = _policy(section, case, severity)
        better, worse = (judge(case.at(bad), rule) for bad in sorted((one, other)))
        assert [check.name for check in better] == [check.name for check in worse]
        for before, after in zip(better, worse, strict=True):
            assert GOODNESS.index(after.verdict) <= GOODNESS.index(before.verdict), (before.reason, after.reason)

    holds()


@pytest.mark.parametrize("on_reuse", ["warn", "tighten", "fail"])
def test_data_that_decided_oftener_never_make_a_candidate_better(on_reuse):
    """The holdout's rule is about the data, not the candidate, so it can stand in no policy alone."""

    @settings(deadline=None, max_examples=60)
    @given(st.floats(0.55, 0.7), st.integers(1, 40), st.integers(0, 40))
    def holds(auc, uses, more):
        rule = parse_policy(
            {
                "minimum_rows": {"rows": 100, "positives": 10},
                "absolute": [{"metric": "roc_auc", "minimum": 0.6}],
                "holdout": {"max_uses": 3, "on_reuse": on_reuse},
            }
        )
        found = measured("roc_auc", auc)
        verdicts = [combine(judge(found, rule, uses=one)) for one in (uses, uses + more)]
        assert verdicts[0].promotes or not verdicts[1].promotes

    holds()
