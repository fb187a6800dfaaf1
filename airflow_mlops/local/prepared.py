"""What the traffic generator is given: requests prepared in a file, and how to send them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["PreparedRequest", "TrafficOptions", "load_requests"]


@dataclass(frozen=True, kw_only=True)
class TrafficOptions:
    """What to send, where and how fast.

    :param url: the model's inference URL, ending in ``/infer``
    :param requests: JSON lines ``{"id", "features", "label"}``
    :param rate: requests per second
    :param trace: file that receives what was answered
    :param labels: file that receives the labels
    :param label_delay_seconds: time from an answer to its label
    :param loop: start again at the end of the requests
    :param limit: stop after so many requests
    :param seconds: stop after this time
    :param max_in_flight: bound on requests without an answer yet
    :param timeout_seconds: give a request up after this time
    """

    url: str
    requests: Path
    rate: float
    trace: Path
    labels: Path
    label_delay_seconds: float = 1.0
    loop: bool = False
    limit: int | None = None
    seconds: float | None = None
    max_in_flight: int = 64
    timeout_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if not self.url.startswith(("http://", "https://")) or not self.url.endswith("/infer"):
            raise SpecificationError(
                "url", self.url, "an inference URL such as http://host:8100/v2/models/flights/infer"
            )
        for name in ("rate", "timeout_seconds", "max_in_flight"):
            if not getattr(self, name) > 0:
                raise SpecificationError(name, getattr(self, name), "a number above 0")
        if self.label_delay_seconds < 0:
            raise SpecificationError("label_delay_seconds", self.label_delay_seconds, "0 or more seconds")


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """One line of the requests file.

    :param features: feature name to value
    :param label: what turned out to be true, 0 or 1; None where it never becomes known
    """

    id: str
    features: Mapping[str, Any]
    label: int | None = None


def load_requests(path: Path) -> list[PreparedRequest]:
    """Read the requests to send.

    :raises ContractError: naming file and line of what is not a request, or the file that is missing or empty
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ContractError(f"{path}: the requests cannot be read: {error.strerror}") from error
    requests = [_prepared(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]
    if not requests:
        raise ContractError(f"{path}: holds no requests")
    return requests


def _prepared(line: str, where: str) -> PreparedRequest:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ContractError(f"{where}: not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("features"), dict) or not document.get("id"):
        raise ContractError(
            f'{where}: {line!r:.120} is no request; expected {{"id": …, "features": {{…}}, "label": 0 or 1}}'
        )
    label = document.get("label")
    if label not in (0, 1, None):
        raise ContractError(f"{where}: label {label!r} is not accepted; expected 0, 1 or null")
    return PreparedRequest(id=str(document["id"]), features=document["features"], label=label)
