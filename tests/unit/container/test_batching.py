"""Scoring together what arrives together."""

from __future__ import annotations

import asyncio

import pytest

from airflow_mlops.container.batching import Batcher


class Model:
    """Doubles numbers, refuses negative ones, remembers how it was called."""

    def __init__(self):
        self.calls = []

    def score(self, columns):
        self.calls.append(list(columns["x"]))
        if min(columns["x"]) < 0:
            raise ValueError("negative")
        return [2.0 * value for value in columns["x"]]


def ask(batcher, *requests):
    async def together():
        return await asyncio.gather(*(batcher.score({"x": rows}) for rows in requests), return_exceptions=True)

    return asyncio.run(together())


def test_requests_of_one_moment_are_one_call_and_get_their_own_rows_back():
    model = Model()
    answers = ask(Batcher(model.score, window_seconds=0.01, max_rows=100), [1], [2, 3], [4])
    assert answers == [[2.0], [4.0, 6.0], [8.0]]
    assert model.calls == [[1, 2, 3, 4]]


def test_requests_apart_in_time_do_not_wait_for_each_other():
    model = Model()
    batcher = Batcher(model.score, window_seconds=0.0, max_rows=100)
    assert [ask(batcher, [1]), ask(batcher, [2])] == [[[2.0]], [[4.0]]]
    assert model.calls == [[1], [2]]


def test_a_batch_holds_no_more_rows_than_allowed():
    model = Model()
    answers = ask(Batcher(model.score, window_seconds=0.01, max_rows=3), [1, 2], [3, 4], [5], [6, 7, 8, 9])
    assert answers == [[2.0, 4.0], [6.0, 8.0], [10.0], [12.0, 14.0, 16.0, 18.0]]
    assert model.calls == [[1, 2], [3, 4, 5], [6, 7, 8, 9]]


def test_one_bad_request_does_not_fail_the_others():
    model = Model()
    good, bad, other = ask(Batcher(model.score, window_seconds=0.01, max_rows=100), [1], [-1], [2])
    assert (good, other) == ([2.0], [4.0])
    assert isinstance(bad, ValueError)


def test_who_goes_away_does_not_disturb_the_rest():
    async def scene():
        batcher = Batcher(Model().score, window_seconds=0.05, max_rows=100)
        leaving = asyncio.create_task(batcher.score({"x": [1]}))
        staying = asyncio.create_task(batcher.score({"x": [2]}))
        await asyncio.sleep(0)
        leaving.cancel()
        answer = await staying
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return answer

    assert asyncio.run(scene()) == [4.0]
