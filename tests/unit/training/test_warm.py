"""What comes through the connection to a warm pod, and when waiting for its start is over."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.warm import HEARTBEAT, Remark, StepStream, WarmPodRef, is_over, remark, start_trouble

PENDING = PodReport(phase=PodPhase.PENDING)


def pieces(data, cuts):
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[first:last] for first, last in itertools.pairwise(edges)]


@given(st.lists(st.text(st.characters(exclude_characters="\n"))), st.lists(st.integers(0, 500)))
def test_a_log_arrives_line_by_line_wherever_it_is_cut(lines, cuts):
    data = "".join(f"{line}\n" for line in lines).encode()
    stream = StepStream()
    assert [line for piece in pieces(data, cuts) for line in stream.log(piece)] == lines
    assert stream.rest() == []
    assert stream.received == len(data)


@given(st.lists(st.integers(0, 500)))
def test_remarks_are_told_from_what_others_say_wherever_they_are_cut(cuts):
    said = HEARTBEAT + remark("started") + "python: No module named x\n" + HEARTBEAT + remark("ended", 3)
    stream = StepStream()
    for piece in pieces(said.encode(), cuts):
        stream.errors(piece)
    assert stream.remarks == [Remark(state="started"), Remark(state="ended", code=3)]
    assert stream.ended == Remark(state="ended", code=3)
    assert stream.stray == "python: No module named x\n"


def test_a_connection_that_breaks_within_a_remark_has_not_made_it():
    stream = StepStream()
    stream.errors(remark("ended", 0)[:-5].encode())
    stream.close()
    assert stream.ended is None
    stream.errors(remark("ended", 0).encode())
    assert stream.ended == Remark(state="ended", code=0)


def test_the_next_connection_goes_on_where_the_last_one_broke():
    stream = StepStream()
    assert stream.log(b"one\ntw") == ["one"]
    stream.close()
    assert stream.received == 6
    assert stream.log(b"o\nthree") == ["two"]
    assert stream.rest() == ["three"]
    assert stream.rest() == []


@pytest.mark.parametrize("line", ["[]", "7", '"text"', '{"other": 1}', "{"])
def test_json_that_is_no_remark_is_what_somebody_said(line):
    stream = StepStream()
    stream.errors(f"{line}\n".encode())
    assert stream.remarks == []
    assert stream.stray == f"{line}\n"


def test_a_pod_round_trips():
    ref = WarmPodRef(namespace="n", name="p", uid="u", container="base", python="python", setup="g.start_warm_pod")
    assert decode(WarmPodRef, json.loads(json.dumps(encode(ref)))) == ref


def waiting(cause):
    return PodReport(phase=PodPhase.PENDING, trouble=Trouble(cause=cause, message=cause.name))


@pytest.mark.parametrize(
    ("report", "waited", "cause"),
    [
        (PENDING, 9, None),
        (PENDING, 11, Cause.SLOW_START),
        (PodReport(phase=PodPhase.RUNNING), 9, None),
        (waiting(Cause.IMAGE), 0, Cause.IMAGE),
        (waiting(Cause.REGISTRY), 9, None),
        (waiting(Cause.REGISTRY), 11, Cause.REGISTRY),
        (waiting(Cause.UNSCHEDULABLE), 4, None),
        (waiting(Cause.UNSCHEDULABLE), 6, Cause.UNSCHEDULABLE),
        (PodReport(phase=PodPhase.PENDING, ending=True), 0, Cause.GONE),
        (PodReport(phase=PodPhase.ABSENT, trouble=Trouble(cause=Cause.EVICTED, message="x")), 0, Cause.EVICTED),
        (PodReport(phase=PodPhase.SUCCEEDED), 0, Cause.GONE),
    ],
)
def test_waiting_ends_when_it_cannot_get_better_or_takes_too_long(report, waited, cause):
    trouble = start_trouble(report, waited, 5, 10)
    assert (trouble.cause if trouble else None) is cause


def test_a_container_that_has_ended_is_over_though_others_of_its_pod_run():
    assert not is_over(PodReport(phase=PodPhase.RUNNING))
    assert is_over(PodReport(phase=PodPhase.RUNNING, exit_code=0))
    assert is_over(PodReport(phase=PodPhase.ABSENT))
