"""Each invariant has a trace that breaks it, and nothing else; a checker that cannot fail shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights, record
from airflow_mlops.rollout.step import abort
from airflow_mlops.testing.invariants import Bounds, violations
from airflow_mlops.testing.traffic_trace import CONTROL, GATEWAY, Answer, Fault, Sample, Trace, TraceLog, table
from airflow_mlops.verdict import CheckResult, Verdict

OLD, NEW = "m-v1", "m-v2"
SPEC = RolloutSpec(
    steps=(CanaryStep(weight_percent=10, min_requests=5), CanaryStep(weight_percent=50, min_requests=5)),
    max_unknown_seconds=10,
)
BOUNDS = Bounds(lease_seconds=20, watchdog_seconds=5, propagation_seconds=1)
BEGUN = begin(spec=SPEC, model_name="m", candidate=NEW, stable=OLD, now=0.0)
PROOF = CheckResult(name="error_rate.proof", verdict=Verdict.PASS, reason="shown", sample_size=7)


def went_on(state: RolloutState, now: float, *, size: int = 7, verdict: Verdict = Verdict.PASS) -> RolloutState:
    last = state.step_index + 1 == len(SPEC.steps)
    place: dict[str, Any] = {"phase": "promoted"} if last else {"step_index": state.step_index + 1}
    checks = (replace(PROOF, sample_size=size),)
    state = replace(state, **place, step_since=None, checks=checks, sequence=state.sequence + 1)
    return record(state, now=now, verdict=verdict, reason="proven")


def sample(
    at: float,
    state: RolloutState | None,
    new: int | None = None,
    *,
    holder: str = "dag",
    token: int = 1,
    written_by: int = 1,
    servers: Mapping[str, str] | None = None,
    **view: Any,
) -> Sample:
    """A sample; ``new`` is the candidate's weight, by default what the state wants."""
    weights = intended_weights(state) if new is None and state else {NEW: new or 0, OLD: 100 - (new or 0)}
    shown = {"targets": {OLD: 1, NEW: 2}, "generation": int(at), **view}
    return Sample(
        at=at,
        view=RouteView(route="m", weights={name: weight for name, weight in weights.items() if weight}, **shown),
        lease=Lease(token=token, holder=holder, expires_at=at + 20, state=state),
        token=written_by,
        servers={OLD: "a", NEW: "b"} if servers is None else servers,
    )


HALF = went_on(BEGUN, 10.0)
DONE = went_on(HALF, 20.0)
ABORTED = abort(BEGUN, 10.0, "harm")
ANSWERS = tuple(
    Answer(at=second / 4, status=200, target=NEW if second % 2 and second / 4 < 22 else OLD) for second in range(4, 88)
)
PROMOTED = (sample(0, BEGUN, 0), sample(1, BEGUN), sample(10, HALF), sample(20, DONE), sample(22, DONE, holder=""))
ROLLED_BACK = (sample(0, BEGUN, 0), sample(1, BEGUN), sample(10, ABORTED), sample(12, ABORTED, holder=""))


def broken(*samples: Sample, ended: bool = True, until: float = 30.0, **rest: Any) -> set[int]:
    trace = Trace(samples=samples, until=until, **rest)
    return {violation.invariant for violation in violations(trace, BOUNDS, ended=ended)}


def test_a_good_promotion_and_a_good_rollback_break_nothing() -> None:
    assert broken(*PROMOTED, answers=ANSWERS) == set()
    assert broken(*ROLLED_BACK) == set()


def test_0_a_request_fails_that_no_server_failed() -> None:
    for status, target in ((0, ""), (503, ""), (404, ""), (502, NEW)):
        bad = Answer(at=5.0, status=status, target=target)
        assert broken(*PROMOTED, answers=(*ANSWERS, bad)) == {0}
        assert broken(*PROMOTED, answers=(*ANSWERS, bad), faults=(Fault(what=GATEWAY, since=4, until=6),)) == set()
    assert broken(*PROMOTED, answers=(*ANSWERS, Answer(at=5.0, status=500, target=NEW))) == set()


def test_1_a_canary_that_nobody_judges_keeps_its_traffic() -> None:
    for end in (27.1, 60.0):
        late = (*ROLLED_BACK[:2], sample(end, abort(BEGUN, end, "late")), sample(end + 1, ABORTED, holder=""))
        assert 1 in broken(*late, until=end + 2)
    # A process that takes the lease up again and again without judging prolongs nothing.
    again = [
        replace(sample(at, BEGUN), lease=Lease(token=1, holder="dag", expires_at=at, state=BEGUN))
        for at in range(2, 40)
    ]
    assert 1 in broken(*ROLLED_BACK[:2], *again, ended=False, until=41)
    in_time = (*ROLLED_BACK[:2], sample(26, abort(BEGUN, 26, "late")), sample(27, abort(BEGUN, 26, "late"), holder=""))
    assert broken(*in_time) == set()


def test_1_answers_alone_show_it_too() -> None:
    answer = Answer(at=45.0, status=200, target=NEW)
    assert broken(*ROLLED_BACK, answers=(answer,), until=50.0) == {1}


def test_1_a_rollout_whose_first_verdict_nobody_saw_counts_from_its_beginning() -> None:
    unknown = replace(BEGUN, unknown_since=1.0, sequence=1)
    assert broken(sample(0, None, 0), sample(24, unknown), ended=False, until=25) == set()
    assert broken(sample(0, None, 0), sample(24, unknown), ended=False, until=27) == {1}


def test_1_is_suspended_while_nobody_can_change_the_route() -> None:
    late = (*ROLLED_BACK[:2], sample(60, abort(BEGUN, 60, "late")), sample(61, abort(BEGUN, 60, "late"), holder=""))
    assert broken(*late, until=62, faults=(Fault(what=CONTROL, since=10, until=58),)) == set()


def test_2_two_write_at_once() -> None:
    assert 2 in broken(sample(0, BEGUN, token=2), sample(1, BEGUN, token=1), ended=False)
    assert 2 in broken(sample(0, BEGUN), sample(1, BEGUN, holder="other"), ended=False)
    assert 2 in broken(sample(0, BEGUN, written_by=2), sample(1, BEGUN, written_by=1), ended=False)
    passed_on = [sample(at, BEGUN, weight, token=2, written_by=1) for at, weight in ((0, 0), (1, 0), (5, 10))]
    assert broken(*passed_on, ended=False, until=6) == {2}


def test_3_weights_that_no_step_names() -> None:
    assert 3 in broken(*PROMOTED[:2], sample(5, BEGUN, 5), *PROMOTED[2:])


def test_4_traffic_before_it_was_stored() -> None:
    assert broken(*PROMOTED[:2], sample(5, BEGUN, 50), *PROMOTED[2:]) == {4}


def test_5_traffic_before_capacity_and_capacity_gone_before_traffic() -> None:
    unready = replace(PROMOTED[0], servers={OLD: "a"})
    assert broken(unready, replace(PROMOTED[1], servers={OLD: "a"}), *PROMOTED[2:]) == {5}
    gone = replace(PROMOTED[1], at=5.0, servers={OLD: "a"})
    assert broken(*PROMOTED[:2], gone, *PROMOTED[2:]) == {5}
    assert broken(*PROMOTED[:2], gone, *PROMOTED[2:], faults=(Fault(what=NEW, since=4.9, until=5.0),)) == set()
    assert 5 in broken(*PROMOTED[:2], sample(5, BEGUN, targets={OLD: 1}), *PROMOTED[2:])


def test_6_forward_without_evidence() -> None:
    few, blind = went_on(BEGUN, 10.0, size=4), went_on(BEGUN, 10.0, verdict=Verdict.ERROR)
    for state in (few, blind):
        assert broken(*PROMOTED[:2], sample(10, state), ended=False) == {6}
    quiet = tuple(answer for answer in ANSWERS if answer.target == OLD)
    assert broken(*PROMOTED, answers=quiet) == {6}


def test_7_an_abort_that_is_not_for_good() -> None:
    assert broken(*ROLLED_BACK[:3], sample(11, ABORTED, 10), *ROLLED_BACK[3:]) == {7}
    assert 7 in broken(*ROLLED_BACK[:3], sample(11, replace(BEGUN, sequence=9)), ended=False)
    anew = begin(spec=SPEC, model_name="m", candidate=NEW, stable=OLD, now=13.0)
    assert broken(*ROLLED_BACK, sample(14, anew, token=2), ended=False, until=15) == {7}
    assert broken(*ROLLED_BACK, sample(14, anew, token=2, holder="tomorrow"), ended=False, until=15) == set()


def test_8_a_rollback_that_stays_on_paper() -> None:
    paper = (*ROLLED_BACK[:2], sample(10, ABORTED, 10))
    assert 8 in broken(*paper, until=40.0, ended=False)
    assert broken(*paper, until=30.0, ended=False) == set()


def test_9_a_promotion_that_starts_the_server_anew() -> None:
    assert broken(*PROMOTED[:4], sample(21, DONE, servers={OLD: "a", NEW: "c"}, holder="")) == {9}


def test_10_an_end_that_is_none() -> None:
    assert broken(*PROMOTED[:4]) == {10}  # the lease is held
    assert broken(*PROMOTED[:3], until=12.0) == {10}  # nothing is decided
    assert broken(*PROMOTED[:3], sample(20, DONE, 50, holder="")) == {10}


def test_11_another_hands_change_is_fought() -> None:
    edited = sample(5, BEGUN, 77, foreign_edits=("edited",))
    assert broken(*PROMOTED[:2], edited, sample(6, BEGUN), *PROMOTED[2:]) == {11}
    forward = sample(10, HALF, 77, foreign_edits=("edited",))
    assert broken(*PROMOTED[:2], edited, forward, *PROMOTED[2:]) == {11}
    assert broken(*ROLLED_BACK[:2], edited, *ROLLED_BACK[2:]) == set()


def test_the_bound_is_lease_watchdog_and_propagation() -> None:
    assert BOUNDS.max_unjudged_seconds == 26


def test_equal_samples_are_kept_once_and_the_table_shows_shares(tmp_path: Path) -> None:
    log = TraceLog()
    for moment in PROMOTED:
        log.add(moment)
        log.add(replace(moment, at=moment.at + 0.5))
    trace = log.trace(until=24.0, answers=[(a.at, a.status, a.target) for a in ANSWERS])
    assert trace.samples == PROMOTED
    assert trace.at(10.2) == PROMOTED[2]
    rows = table(trace, NEW)
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["0 %", "10 %", "50 %", "100 %"]
    assert "proven" in rows[-1]


@pytest.mark.parametrize("invariant", range(12))
def test_no_number_is_without_a_check(invariant: int) -> None:
    text = Path(__file__).read_text()
    assert f"def test_{invariant}_" in text
