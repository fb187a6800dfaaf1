"""How to talk to an MLflow server: credentials, patience and errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import AdapterError, PermanentAdapterError, SpecificationError, TransientAdapterError

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["MLflowServer"]

_PROBE_SECONDS = 3.0
_PERMANENT = frozenset(
    {
        "ALREADY_EXISTS",
        "BAD_REQUEST",
        "CUSTOMER_UNAUTHORIZED",
        "ENDPOINT_NOT_FOUND",
        "INVALID_PARAMETER_VALUE",
        "NOT_FOUND",
        "NOT_IMPLEMENTED",
        "PERMISSION_DENIED",
        "RESOURCE_ALREADY_EXISTS",
        "RESOURCE_DOES_NOT_EXIST",
        "UNAUTHENTICATED",
    }
)
# MLflow's client reads credentials and patience from the environment only, and the environment is the process's.
_ENVIRONMENT = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class MLflowServer:
    """Address and credentials of a tracking server with a model registry.

    :param tracking_uri: address of the server, for example ``https://mlflow.example.com``
    :param username: user for basic authentication, None for none
    :param password: the user's password
    :param token: bearer token, instead of user and password
    """

    tracking_uri: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is no address of a server."""
        if not self.tracking_uri.startswith(("http://", "https://")):
            raise SpecificationError(
                "MLflowServer.tracking_uri", self.tracking_uri, "an address such as http://127.0.0.1:5000"
            )

    @property
    def credentials(self) -> dict[str, str]:
        """The environment in which an MLflow client may use this server."""
        values = {
            "MLFLOW_TRACKING_USERNAME": self.username,
            "MLFLOW_TRACKING_PASSWORD": self.password,
            "MLFLOW_TRACKING_TOKEN": self.token,
        }
        return {name: value for name, value in values.items() if value}

    def probe(self) -> None:
        """Ask whether anybody is there, within three seconds.

        MLflow's own client would repeat its question for minutes.

        :raises TransientAdapterError: if nobody answers
        """
        import httpx

        # Loading certificates takes longer than the answer; without TLS none are needed.
        encrypted = self.tracking_uri.startswith("https://")
        try:
            httpx.get(f"{self.tracking_uri}/health", timeout=_PROBE_SECONDS, verify=encrypted)
        except httpx.HTTPError as error:
            raise TransientAdapterError(
                f"MLflow at {self.tracking_uri} does not answer ({error or type(error).__name__})"
            ) from error

    @contextmanager
    def session(self, what: str, *, timeout_seconds: int = 20) -> Iterator[MlflowClient]:
        """Give a client whose errors are ours.

        :param what: what is being tried, for the message: "registering flights"
        :param timeout_seconds: patience with one request
        :raises TransientAdapterError: if the server cannot be reached or is overloaded
        :raises PermanentAdapterError: if it refuses
        """
        self.probe()
        patience = {
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_seconds),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        }
        with _environment(patience | self.credentials, unset=tuple(MLflowServer._names())):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException
            from requests.exceptions import RequestException

            try:
                yield MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            except MlflowException as error:
                raise self._translated(what, error) from error
            except RequestException as error:
                raise TransientAdapterError(f"{what}: MLflow at {self.tracking_uri} broke off ({error})") from error

    @staticmethod
    def _names() -> Iterator[str]:
        yield from ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

    def _translated(self, what: str, error: Any) -> AdapterError:
        text = str(error.message)
        if len(text) > 500:
            text = text[:500] + "…"
        code = "" if text.startswith(error.error_code) else f"{error.error_code}: "
        message = f"{what}: MLflow at {self.tracking_uri} says {code}{text}"
        return PermanentAdapterError(message) if error.error_code in _PERMANENT else TransientAdapterError(message)


@contextmanager
def _environment(values: Mapping[str, str], *, unset: tuple[str, ...]) -> Iterator[None]:
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in (*values, *unset)}
        for name in unset:
            os.environ.pop(name, None)
        os.environ.update(values)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
