"""Sending logged requests to a candidate's server, past the gateway."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.hooks.shadow import version_of

if TYPE_CHECKING:
    from airflow_mlops.adapters.serving.open_inference import InferenceClient
    from airflow_mlops.rollout.pair_counts import PairCounts
    from airflow_mlops.rollout.ports import ServerFleet
    from airflow_mlops.rollout.replay import LoggedRequest, ReplaySpec
    from airflow_mlops.rollout.shadow_spec import ShadowSpec

__all__ = ["replay_logged"]


def replay_logged(
    fleet: ServerFleet,
    model_name: str,
    *,
    candidate: str,
    stable: str,
    spec: ShadowSpec,
    which: ReplaySpec,
    predictions: Path,
    labels: Path | None,
) -> PairCounts:
    """Ask the candidate what the stable model was asked, and return what the pairs of answers come to.

    :param predictions: folder of all prediction logs
    :param labels: folder of all labels, None where there are none
    :raises TransientAdapterError: when the candidate is not ready
    :raises PermanentAdapterError: when the stable model's version has no log
    """
    from airflow_mlops.adapters.predictions.tail import read_labels, read_requests
    from airflow_mlops.adapters.serving.open_inference import InferenceClient
    from airflow_mlops.rollout.replay import replay

    if spec.latency is not None:
        raise SpecificationError("spec.latency", spec.latency, "None: what was logged was timed under another load")
    status = fleet.status(candidate)
    if status is None or status.phase != "ready" or status.port is None:
        seen = "unknown" if status is None else f"{status.phase}: {status.message}"
        raise TransientAdapterError(f"model server {candidate!r} is not ready, it is {seen}")
    version = version_of(fleet, model_name, stable)
    requests = read_requests(predictions, model_name, version, most=which.rows, since=which.since, until=which.until)
    known: Mapping[str, int] = {}
    if labels is not None and spec.labels is not None:
        known = read_labels(labels, model_name, (request.answer.id for request in requests))
    with InferenceClient(f"http://{status.host}:{status.port}", model_name) as client:
        asker = _Asker(client, 1 / which.requests_per_second)
        return replay(requests, asker.ask, spec, labels=known)


class _Asker:
    """Asks for one row at a time, at a bounded rate."""

    def __init__(self, client: InferenceClient, every_seconds: float) -> None:
        self._client = client
        self._every_seconds = every_seconds
        self._due = time.monotonic()

    def ask(self, request: LoggedRequest) -> float | None:
        time.sleep(max(0.0, self._due - time.monotonic()))
        # What was lost by a slow answer is not caught up with a burst.
        self._due = max(self._due, time.monotonic() - self._every_seconds) + self._every_seconds
        try:
            # Not an id that a label would ever have: the candidate's own log shows what these were.
            reply = self._client.ask([request.features], [0], f"replay/{request.answer.id}")
        except TransientAdapterError:
            return None
        return reply.probabilities[0] if reply.answered else None
