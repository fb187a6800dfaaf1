"""Data that decide about one candidate after another: counting, warning, and intervals that are widened for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.holdout import holdout_uses
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import EvaluationReport
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.evaluation.tightening import tightened
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.student import student_quantile
from airflow_mlops.verdict import Verdict, combine

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")

WIDENED = {"roc_auc", "brier", "log_loss", "accuracy"}


def report(confidence: float = 0.95, *, seed: int = 3, rows: int = 6000, skill: float = 0.9) -> EvaluationReport:
    draw = np.random.default_rng(seed)
    days = np.repeat(np.arange(30), rows // 30)
    logits = draw.normal(-1, 1, rows) + draw.normal(0, 0.3, 30)[days]
    labels = (draw.random(rows) < 1 / (1 + np.exp(-logits))).astype(int)
    candidate, champion = (1 / (1 + np.exp(-(skill * logits + draw.normal(0, noise, rows)))) for noise in (0.4, 0.45))
    return build_report(
        EvaluationSpec(target="late", confidence=confidence, slices=("origin",)),
        labels=labels,
        days=days,
        candidate=candidate,
        champion=champion,
        slices={"origin": draw.choice(["EWR", "JFK"], rows)},
    )


def evidence(candidate: str, dataset: object = "sha256:d", *, verdict: Verdict = Verdict.PASS, decision="gate"):
    return Evidence(
        decision=decision,
        subject="flights",
        verdict=verdict,
        checks=(),
        origin=Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        decided_at=1.0,
        references=references(candidate, dataset),
    )


def references(candidate: str, dataset: object = "sha256:d") -> dict:
    many = [{"digest": one} for one in dataset] if isinstance(dataset, list) else {"digest": dataset}
    return {"candidate": {"digest": candidate}, "dataset": many if dataset else None}


class TestCount:
    def test_every_other_candidate_counts_once(self):
        earlier = [evidence("a"), evidence("b", verdict=Verdict.FAIL), evidence("a"), evidence("c")]
        assert holdout_uses(earlier, references("c")) == 3
        assert holdout_uses(earlier, references("new")) == 4
        assert holdout_uses([], references("new")) == 1

    def test_what_is_no_use_does_not_count(self):
        earlier = [evidence("a", "sha256:other"), evidence("b", verdict=Verdict.ERROR), evidence("c", decision="drift")]
        assert holdout_uses(earlier, references("new")) == 1

    def test_data_are_the_same_as_soon_as_one_part_is(self):
        earlier = [evidence("a", ["sha256:april", "sha256:may"])]
        assert holdout_uses(earlier, references("b", ["sha256:may", "sha256:june"])) == 2
        assert holdout_uses(earlier, references("b", "sha256:may")) == 2
        assert holdout_uses(earlier, references("b", "sha256:june")) == 1

    def test_data_without_a_name_are_not_counted(self):
        assert holdout_uses([evidence("a")], references("b", None)) is None


def policy(on_reuse: str, **more):
    rules = {"minimum_rows": {"rows": 100, "positives": 10}, "absolute": [{"metric": "roc_auc", "minimum": 0.6}]}
    return parse_policy({**rules, "holdout": {"max_uses": 2, "on_reuse": on_reuse}, **more})


def use(found, rule, uses):
    (check,) = [one for one in judge(found, rule, uses=uses) if one.name == "holdout.uses"]
    return check


@pytest.mark.parametrize(
    ("on_reuse", "uses", "verdict"),
    [
        ("warn", 2, Verdict.PASS),
        ("warn", 3, Verdict.WARN),
        ("fail", 2, Verdict.PASS),
        ("fail", 3, Verdict.FAIL),
        ("tighten", 2, Verdict.PASS),
        ("tighten", 3, Verdict.PASS),
        ("warn", None, Verdict.INCONCLUSIVE),
    ],
)
def test_what_happens_is_a_choice(on_reuse, uses, verdict):
    found = use(report(), policy(on_reuse), uses)
    assert found.verdict is verdict
    assert found.value == uses
    if uses == 3:
        assert found.reason.startswith("these data have decided about 3 candidates; the policy allows 2: ")


def test_without_a_rule_nobody_asks():
    rules = {"absolute": [{"metric": "roc_auc", "minimum": 0.6}]}
    assert judge(report(), parse_policy(rules), uses=9) == judge(report(), parse_policy(rules))


def test_a_tightened_judgement_says_what_it_was_judged_by():
    checks = judge(report(), policy("tighten"), uses=5)
    (auc,) = [one for one in checks if one.name == "roc_auc.minimum"]
    assert "(99 % interval " in auc.reason
    (check,) = [one for one in checks if one.name == "holdout.uses"]
    assert check.reason.endswith("intervals are widened to 99 %")
    assert check.details["confidence"] == pytest.approx(0.99)


def test_intervals_that_cannot_be_widened_are_named():
    rule = policy("tighten", non_inferiority=[{"metric": "f1", "margin": 0.5}])
    found = use(report(), rule, 3)
    assert found.verdict is Verdict.WARN
    assert "but not those of f1, where a candidate may pass by luck; take data that no candidate" in found.reason


@pytest.mark.parametrize("skill", [0.9, 30.0])
def test_a_widened_report_is_what_measuring_with_the_other_coverage_gives(skill):
    """With great skill areas reach 1, where an interval is cut off."""
    widened, left = tightened(report(skill=skill), 0.99)
    measured = report(0.99, skill=skill)
    assert widened.confidence == measured.confidence
    assert left.isdisjoint(WIDENED)

    def same(ours, theirs):
        for name in WIDENED & set(theirs):
            assert (ours[name].low, ours[name].high) == pytest.approx((theirs[name].low, theirs[name].high), abs=1e-8)

    same(widened.candidate.metrics, measured.candidate.metrics)
    same(widened.differences, measured.differences)
    assert len(widened.slices) == 2
    for ours, theirs in zip(widened.slices, measured.slices, strict=True):
        same(ours.candidate.metrics, theirs.candidate.metrics)
        same(ours.differences, theirs.differences)


def test_an_interval_that_is_none_of_ours_is_left():
    found = report()
    forged = replace(found.differences["accuracy"], low=found.differences["accuracy"].low - 0.01)
    changed = replace(found, differences={**found.differences, "accuracy": forged})
    assert "accuracy" in tightened(changed, 0.99)[1]
    assert "roc_auc" in tightened(replace(found, days=1), 0.99)[1]


def test_of_many_candidates_hardly_any_passes_by_luck():
    """Ten candidates at the bound, thirty days each, all held to a tenth of the error: 20,000 simulations.

    Nominal is what the confidence leaves for one side, 2.5 %; the standard error of the simulation is 0.11 %.
    """
    candidates, days = 10, 30
    means = np.random.default_rng(11).normal(0, 1, (20_000, candidates, days))
    errors = means.mean(axis=2) / (means.std(axis=2, ddof=1) / np.sqrt(days))
    reach = {k: student_quantile(1 - 0.05 / k, days - 1) for k in (1, candidates)}
    passed = {k: (errors > reach[k]).any(axis=1).mean() for k in reach}
    assert passed[1] > 0.2
    assert 0.02 < passed[candidates] < 0.025 + 3 * 0.0011
    # What the gate does to an interval is that reach.
    auc, wider = (one.candidate.metrics["brier"] for one in (report(), tightened(report(), 1 - 0.05 / candidates)[0]))
    assert (wider.high - wider.value) / (auc.high - auc.value) == pytest.approx(reach[candidates] / reach[1])


def test_a_worn_out_holdout_can_stop_a_candidate():
    found = report()
    just = found.candidate.metrics["roc_auc"].low - 1e-4
    rule = policy("tighten", absolute=[{"metric": "roc_auc", "minimum": just}])
    assert combine(judge(found, rule, uses=1)) is Verdict.PASS
    assert combine(judge(found, rule, uses=3)) is Verdict.INCONCLUSIVE


def test_a_rule_that_no_candidate_could_keep_is_refused():
    with pytest.raises(SpecificationError, match=r"policy\.holdout\.max_uses: 0 .* at least 1"):
        policy("warn", holdout={"max_uses": 0})
    with pytest.raises(SpecificationError, match=r"policy\.approval\.ask: 'never' .* with allow_override"):
        policy("warn", approval={"ask": "never", "allow_override": True})
