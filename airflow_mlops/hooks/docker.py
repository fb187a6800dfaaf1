"""The way to a Docker engine, by the connection type of Airflow's Docker provider."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowOptionalProviderFeatureException

from airflow_mlops.exceptions import TransientAdapterError

__all__ = ["docker_client"]

_SOCKET = "unix:///var/run/docker.sock"


def docker_client(
    docker_conn_id: str | None = None, docker_url: str | None = None, *, timeout_seconds: int = 60
) -> Any:
    """Return ``docker.APIClient`` of an engine that answers, logged in to a registry if a connection names one.

    :param docker_conn_id: connection of type ``docker``, a registry with its credentials; None for no registry
    :param docker_url: the engine's address; None for the environment variable DOCKER_HOST or this machine's own engine
    :param timeout_seconds: how long one call may take, or a stream of lines be silent
    :raises TransientAdapterError: if no engine answers
    :raises AirflowOptionalProviderFeatureException: if the Docker provider is not installed
    """
    try:
        from airflow.providers.docker.hooks.docker import DockerHook
    except ImportError as error:
        raise AirflowOptionalProviderFeatureException(
            "training in Docker and building images need the extra: pip install 'airflow-mlops[docker]'"
        ) from error
    import docker.errors

    url = docker_url or os.environ.get("DOCKER_HOST") or _SOCKET
    hook = DockerHook(docker_conn_id=docker_conn_id, base_url=url, version="auto", timeout=timeout_seconds)
    try:
        return hook.get_conn()
    except docker.errors.APIError as error:
        # The engine answered; the registry, to which it logs in, did not want these credentials.
        raise TransientAdapterError(f"connection {docker_conn_id!r}: {error.explanation or error}") from error
    except AirflowException as error:
        raise TransientAdapterError(f"no Docker engine answers at {url}: {error}") from error
