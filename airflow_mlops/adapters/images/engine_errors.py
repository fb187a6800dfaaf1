"""What a Docker engine says, as this project's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError

__all__ = ["engine_errors"]


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Raise this project's errors for what the engine or the way to it did.

    :param what: what was being done, for the message
    """
    import docker.errors
    import requests.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        said = str(error.explanation or error).strip()
        final = error.status_code is not None and error.status_code < 500
        raise (PermanentAdapterError if final else TransientAdapterError)(f"{what}: {said}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise TransientAdapterError(f"{what}: the Docker engine does not answer ({error})") from error
