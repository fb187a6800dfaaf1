"""What a person reads who is asked about a step."""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.rollout.approval_form import approval_form, approval_subject
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.verdict import CheckResult, Verdict

SPEC = RolloutSpec(
    steps=(CanaryStep(weight_percent=20, approval=True, timeout_seconds=3600), CanaryStep(weight_percent=50))
)
CHECKS = (
    CheckResult(
        name="error_rate.proof", verdict=Verdict.PASS, reason="increase +0.1 %", value=0.001, low=-0.01, high=0.012
    ),
    CheckResult(name="share", verdict=Verdict.INCONCLUSIVE, reason="odd | shares", threshold=3.0),
)


def test_the_evidence_is_a_table_with_the_worst_first() -> None:
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=0.0)
    state = replace(state, checks=CHECKS, proven="errors are no more", step_since=1_800_000_000.0)
    text = approval_form(state, report_address="/mlops/reports/x", now=1_800_000_060.0)
    lines = text.splitlines()
    assert lines[:6] == [
        "**Step 1 of 2: m-v2 20 %, m-v1 80 %.** errors are no more",
        "",
        "| check | verdict | found | interval | bound | in words |",
        "| --- | --- | --- | --- | --- | --- |",
        r"| share | **inconclusive** |  |  | 3 | odd \| shares |",
        "| error_rate.proof | pass | 0.0010 | -0.0100 to 0.0120 |  | increase +0.1 % |",
    ]
    assert "So it was at 2027-01-15 08:01:00 UTC. [The rollout's page](/mlops/reports/x) shows all decisions." in text
    assert "so does no answer until 2027-01-15 09:00:00 UTC." in text
    assert lines[-1].startswith("Airflow keeps the text of a task's first question")
    assert approval_subject(state) == "Route m: may m-v2 take more traffic from m-v1?"
