"""The judgement of the smoke check."""

from __future__ import annotations

from airflow_mlops.rollout.smoke import Reply, judge_smoke
from airflow_mlops.verdict import Verdict, combine

EXPECTED = (0.1, 0.9)


def reply(rows=(0, 1), probabilities=EXPECTED, *, status=200, ms=5.0, server="flights-v3", error=""):
    return Reply(rows=rows, status=status, ms=ms, probabilities=probabilities, server=server, error=error)


def refused(status=500, error="broken"):
    return reply(probabilities=(), status=status, server=None, error=error)


def judge(*replies, expected=EXPECTED, max_p95_ms=None):
    checks = judge_smoke(replies, expected, server="flights-v3", tolerance=1e-6, max_p95_ms=max_p95_ms)
    return combine(checks), {check.name.removeprefix("smoke."): check for check in checks}


def test_equal_predictions_pass_with_the_numbers():
    verdict, checks = judge(reply(), reply(rows=(1,), probabilities=(0.9,), ms=7.0))
    assert verdict is Verdict.PASS
    assert checks["predictions"].value == 0.0
    assert checks["latency"].reason == "p50 5.0 ms, p95 7.0 ms over 2 answers; no bound was set"


def test_a_different_prediction_fails_and_names_the_row():
    verdict, checks = judge(reply(probabilities=(0.1, 0.91)))
    assert verdict is Verdict.FAIL
    assert checks["predictions"].reason == (
        "served and offline predictions of 2 rows differ by at most 0.01 (row 1); up to 1e-06 is accepted"
    )


def test_a_row_that_was_never_answered_fails():
    verdict, checks = judge(reply(rows=(0,), probabilities=(0.1,)))
    assert verdict is Verdict.FAIL
    assert "1 of 2 rows" in checks["predictions"].reason


def test_errors_now_and_then_warn_and_the_canary_judges_them():
    verdict, checks = judge(refused(), reply(), reply())
    assert verdict is Verdict.WARN
    assert checks["errors"].reason == "1 of 3 requests were not answered, the last with status 500: broken"


def test_more_errors_than_answers_fail():
    verdict, _ = judge(refused(), refused(), reply())
    assert verdict is Verdict.FAIL


def test_no_answer_at_all_is_never_a_pass():
    verdict, checks = judge(refused(), refused())
    assert verdict is Verdict.FAIL
    assert checks["identity"].verdict is Verdict.FAIL
    verdict, _ = judge()
    assert verdict is Verdict.ERROR


def test_an_empty_sample_fails():
    verdict, _ = judge(reply(rows=(), probabilities=(0.5,)[:0]), expected=())
    assert not verdict.promotes


def test_another_server_on_the_port_fails():
    verdict, checks = judge(reply(server="flights-v2"))
    assert verdict is Verdict.FAIL
    assert checks["identity"].reason == "flights-v2 answered on the port of flights-v3"


def test_a_slow_server_fails_only_against_a_bound():
    assert judge(reply(ms=400.0))[0] is Verdict.PASS
    verdict, checks = judge(reply(ms=400.0), max_p95_ms=100.0)
    assert verdict is Verdict.FAIL
    assert "p95 400.0 ms over 1 answers; up to 100 ms is accepted" in checks["latency"].reason
