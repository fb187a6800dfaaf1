"""Scoring requests together that arrive together.

One call of a scikit-learn pipeline costs milliseconds however few rows it gets. Requests therefore wait a few
milliseconds for company; under load the batches grow by themselves, and the server's capacity with them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Batcher"]

_LOG = logging.getLogger("airflow_mlops.server")

Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class _Waiting:
    columns: Columns
    rows: int
    result: asyncio.Future[list[float]]


class Batcher:
    """Collects requests for a moment and scores them in one call.

    :param score: feature name to values, all equally long, to one number per row
    :param window_seconds: how long the first request of a batch waits for others
    :param max_rows: rows in one call; a request that does not fit begins the next batch
    """

    def __init__(self, score: Callable[[Columns], list[float]], *, window_seconds: float, max_rows: int) -> None:
        self._score = score
        self._window_seconds = window_seconds
        self._max_rows = max_rows
        self._waiting: list[_Waiting] = []

    async def score(self, columns: Columns) -> list[float]:
        """Score one request's rows, together with whoever else is waiting.

        :raises Exception: whatever scoring these rows raises; rows of other requests make no difference
        """
        loop = asyncio.get_running_loop()
        rows = len(next(iter(columns.values())))
        one = _Waiting(columns, rows, loop.create_future())
        if not self._waiting:
            loop.call_later(self._window_seconds, self._flush)
        self._waiting.append(one)
        return await one.result

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        batch: list[_Waiting] = []
        for one in waiting:
            if batch and sum(other.rows for other in batch) + one.rows > self._max_rows:
                self._run(batch)
                batch = []
            batch.append(one)
        self._run(batch)

    def _run(self, batch: list[_Waiting]) -> None:
        columns = {name: [value for one in batch for value in one.columns[name]] for name in batch[0].columns}
        try:
            scores = self._score(columns)
        except Exception as error:  # noqa: BLE001 - handed to those who asked
            self._fail(batch, error)
            return
        start = 0
        for one in batch:
            # Who went away meanwhile has cancelled the future.
            if not one.result.done():
                one.result.set_result(scores[start : start + one.rows])
            start += one.rows

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        if len(batch) == 1:
            if not batch[0].result.done():
                batch[0].result.set_exception(error)
            return
        _LOG.warning("a batch of %d requests failed (%s); each is scored by itself", len(batch), error)
        for one in batch:
            self._run([one])
