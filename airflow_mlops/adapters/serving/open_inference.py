"""A client of one model server, for the checks before it meets traffic."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from airflow_mlops.container.inference import build_request, read_probabilities
from airflow_mlops.exceptions import ContractError, TransientAdapterError
from airflow_mlops.rollout.smoke import Reply

__all__ = ["InferenceClient"]

_SHOWN = 300


class InferenceClient:
    """Asks one server directly, past the gateway.

    :param base_url: the server's address, for example ``http://127.0.0.1:8200``
    :param model_name: the registered model
    :param timeout_seconds: give a request up after this time
    """

    def __init__(self, base_url: str, model_name: str, *, timeout_seconds: float = 10.0) -> None:
        import httpx

        self._base_url = base_url
        self._url = f"{base_url}/v2/models/{model_name}/infer"
        # A proxy from the environment has no business between this machine and itself.
        self._client = httpx.Client(timeout=timeout_seconds, trust_env=False)

    def ask(self, sample: Sequence[Mapping[str, Any]], rows: Sequence[int], request_id: str) -> Reply:
        """Ask for some rows of a sample in one request.

        :raises TransientAdapterError: if no answer came
        :raises ContractError: if the answer is no inference response
        """
        import httpx

        body = build_request([sample[row] for row in rows], request_id)
        began = time.perf_counter()
        try:
            response = self._client.post(self._url, json=body)
        except httpx.HTTPError as error:
            raise TransientAdapterError(f"{self._base_url} did not answer: {type(error).__name__}: {error}") from error
        milliseconds = (time.perf_counter() - began) * 1000
        if response.status_code != 200:
            return Reply(rows=tuple(rows), status=response.status_code, ms=milliseconds, error=response.text[:_SHOWN])
        document = _json(response)
        return Reply(
            rows=tuple(rows),
            status=200,
            ms=milliseconds,
            probabilities=tuple(read_probabilities(document, len(rows))),
            server=(document.get("parameters") or {}).get("server"),
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._client.close()


def _json(response: Any) -> Mapping[str, Any]:
    try:
        document = response.json()
    except ValueError as error:
        raise ContractError(f"{response.url}: the answer is not JSON: {response.text[:_SHOWN]!r}") from error
    if not isinstance(document, Mapping):
        raise ContractError(f"{response.url}: the answer is not an object: {response.text[:_SHOWN]!r}")
    return document
