"""Definitions of routed objects in the real API server; brought by the tests where the cluster lacks them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects, ObjectKind
from airflow_mlops.exceptions import PermanentAdapterError
from tests.system.kubernetes.controllers import DEFINITIONS, _define


def ensure_defined(api: Any, kind: ObjectKind, file: str) -> None:
    """Make the cluster know a kind, from a file in the folder of definitions.

    :param api: ``kubernetes.client.CoreV1Api``
    """
    if _knows(api, kind):
        return
    if not (DEFINITIONS / file).is_file():
        pytest.skip(
            f"the cluster does not know {kind.plural}.{kind.group}; set MLOPS_DEFINITIONS to a folder with {file}"
        )
    _define(api, DEFINITIONS / file)
    deadline = time.monotonic() + 60
    while not _knows(api, kind):
        assert time.monotonic() < deadline, f"{kind.plural}.{kind.group} does not come up"
        time.sleep(0.2)


def _knows(api: Any, kind: ObjectKind) -> bool:
    try:
        KubernetesObjects(api.api_client, "default").get(kind, "none")
    except PermanentAdapterError as error:
        if "has no definition" not in str(error):
            raise
        return False
    return True
