"""Questions asked of the traffic generator's trace, and the requests that it is given."""

from __future__ import annotations

import json

import pytest

from airflow_mlops.container.lines import LineFile
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.local.prepared import TrafficOptions, load_requests
from airflow_mlops.local.trace import (
    Answer,
    longest_outage,
    percentile,
    read_trace,
    shares,
    shares_over_time,
    statuses,
)


def answer(t, status=200, server="flights-v1", ms=10.0):
    return Answer(t=t, id=f"f{t}", status=status, ms=ms, server=server if status else None)


def test_a_trace_is_read_in_the_order_of_sending_without_torn_lines(tmp_path):
    path = tmp_path / "trace.jsonl"
    with LineFile(path) as trace:
        for t in (3.0, 1.0, 2.0):
            trace.append({"t": t, "id": f"f{t}", "status": 200, "ms": 1.0, "server": "flights-v1"})
    with path.open("a") as stream:
        stream.write('{"t": 4.0, "id"')
    assert [item.t for item in read_trace([path])] == [1.0, 2.0, 3.0]
    assert [item.t for item in read_trace([path], since=2.0, until=3.0)] == [2.0]


def test_shares_count_only_answered_requests():
    answers = [answer(0), answer(1), answer(2, server="flights-v2"), answer(3, status=0)]
    assert shares(answers) == {"flights-v1": pytest.approx(2 / 3), "flights-v2": pytest.approx(1 / 3)}
    assert shares([]) == {}
    assert statuses(answers) == {0: 1, 200: 3}


def test_shares_over_time_start_at_the_first_request():
    answers = [answer(10.0), answer(10.5), answer(11.2, server="flights-v2")]
    assert shares_over_time(answers, bucket_seconds=1.0) == [(10.0, {"flights-v1": 1.0}), (11.0, {"flights-v2": 1.0})]


def test_the_longest_outage_lasts_until_the_next_good_request():
    statuses_sent = [200, 0, 200, 503, 0, 0, 200, 404]
    outage = longest_outage([answer(float(t), status) for t, status in enumerate(statuses_sent)])
    assert (outage.began, outage.seconds, outage.requests) == (3.0, 3.0, 3)


def test_an_outage_at_the_end_lasts_until_its_last_failure():
    outage = longest_outage([answer(0.0), answer(1.0, 0, ms=500.0), answer(2.0, 0, ms=250.0)])
    assert (outage.began, outage.seconds, outage.requests) == (1.0, 1.25, 2)


def test_good_answers_are_no_outage():
    assert longest_outage([answer(0.0), answer(1.0, 400)]) is None
    assert longest_outage([]) is None


def test_percentiles_are_values_that_were_seen():
    assert percentile([5, 1, 3], 50) == 3
    assert percentile(range(1, 101), 95) == 95
    assert percentile([7], 95) == 7
    assert percentile([], 50) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the requests cannot be read: No such file"),
        ("", "holds no requests"),
        ("nonsense\n", "requests.jsonl:1: not JSON"),
        ('{"id": "a", "features": {}}\n{"id": "b"}\n', "requests.jsonl:2: .* is no request; expected"),
        (
            '{"id": "a", "features": {}, "label": 2}\n',
            "requests.jsonl:1: label 2 is not accepted; expected 0, 1 or null",
        ),
    ],
)
def test_what_is_no_request_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "requests.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ContractError, match=message):
        load_requests(path)


def test_a_request_may_have_no_label(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"id": "a", "features": {"x": 1}}) + "\n")
    assert load_requests(path)[0].label is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://127.0.0.1:8100"}, "url: .* an inference URL such as"),
        ({"url": "ftp://127.0.0.1/infer"}, "url: .* an inference URL such as"),
        ({"rate": 0.0}, "rate: 0.0 .* a number above 0"),
        ({"rate": float("nan")}, "rate: nan .* a number above 0"),
        ({"max_in_flight": 0}, "max_in_flight: 0 .* a number above 0"),
        ({"label_delay_seconds": -1.0}, "label_delay_seconds: -1.0 .* 0 or more seconds"),
    ],
)
def test_impossible_traffic_is_refused(tmp_path, changes, message):
    good = {
        "url": "http://127.0.0.1:8100/v2/models/flights/infer",
        "requests": tmp_path / "r",
        "rate": 1.0,
        "trace": tmp_path / "t",
        "labels": tmp_path / "l",
    }
    with pytest.raises(SpecificationError, match=message):
        TrafficOptions(**(good | changes))
