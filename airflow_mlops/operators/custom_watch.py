"""What operators of custom resources keep in mind while they wait."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.training.pods import PodResources, PodVolume

__all__ = ["Submission", "Watched", "decoded", "patiently"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_SILENCE_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a document is made of.

    :param metadata: name, labels and annotations
    :param command: what runs in the pods
    :param resources: what the pods get
    :param artifacts: the artefact store as a volume
    :param group: group of the job's folder
    """

    metadata: Mapping[str, Any]
    command: tuple[str, ...]
    resources: PodResources
    artifacts: PodVolume | None
    group: int


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is followed; travels with the trigger to whoever comes back from it, which is another process.

    :param attempt: the attempt's name
    :param folder: the job's folder
    :param namespace: where the resource is
    :param job: value of the job's label
    :param run_id: of the MLflow run
    :param deadline: seconds since the epoch until which a sleeping task may wait
    """

    attempt: str
    folder: str
    namespace: str
    job: str
    run_id: str | None
    deadline: float | None


def patiently(look: Callable[[], T], pause_seconds: float) -> T:
    """Return what a look at the cluster shows; a short silence of the API server is no reason to give up."""
    deadline = time.monotonic() + _SILENCE_SECONDS
    while True:
        try:
            return look()
        except TransientAdapterError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("%s", error)
            time.sleep(pause_seconds)


def decoded(cls: type[Any], given: Any, where: str) -> Any:
    """Return a value that was given as such or as a mapping of its fields; None stays None."""
    return decode(cls, dict(given), where=where) if isinstance(given, Mapping) else given
