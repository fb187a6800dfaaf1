"""Fixtures for tests that need a Docker engine; they are skipped where none answers."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import airflow_db, artifact_root, connection, run_dag  # noqa: F401 - fixtures
from tests.system.trainer_image import trainer_image as shared_image

ROOT = Path(__file__).parents[3]
BASE_IMAGE = os.environ.get("MLOPS_BASE_IMAGE", "python:3.11-slim-bookworm")
#: Whether Airflow's image is tested with all that it holds by default: twice as large, and a minute more.
COMPLETE_AIRFLOW = os.environ.get("MLOPS_TEST_AIRFLOW_IMAGE") == "1"


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """``docker.APIClient`` of the engine that DOCKER_HOST names, or of this machine's."""
    docker = pytest.importorskip("docker")
    try:
        client = docker.APIClient(version="auto", base_url=os.environ.get("DOCKER_HOST"), timeout=300)
        client.ping()
    except Exception as error:  # noqa: BLE001 - whatever the reason, there is no engine to test with
        pytest.skip(f"no Docker engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: Any) -> str:
    """The image on which this project's are built."""
    if not engine.images(BASE_IMAGE, quiet=True):
        pytest.skip(f"the engine does not have {BASE_IMAGE}; pull it, or name another in MLOPS_BASE_IMAGE")
    return BASE_IMAGE


@pytest.fixture(scope="session")
def trainer_image(engine: Any, base_image: str) -> str:
    """The trainer's image, built from this source unless MLOPS_TRAINER_IMAGE names one; cluster tests share it."""
    return shared_image()


@pytest.fixture(scope="session")
def server_image(engine: Any, base_image: str) -> Iterator[str]:
    """The server's image, built from this source unless MLOPS_SERVER_IMAGE names one."""
    yield from _image(engine, "server", base_image)


@pytest.fixture(scope="session")
def airflow_image(engine: Any, base_image: str) -> Iterator[str]:
    """Airflow's image, built from this source unless MLOPS_AIRFLOW_IMAGE names one.

    With the smallest set of extras that shows its workings; MLOPS_TEST_AIRFLOW_IMAGE=1 takes the Dockerfile's own.
    """
    few = () if COMPLETE_AIRFLOW else ("--build-arg", "EXTRAS=docker")
    yield from _image(engine, "airflow", base_image, *few)


def _image(engine: Any, kind: str, base_image: str, *options: str) -> Iterator[str]:
    given = os.environ.get(f"MLOPS_{kind.upper()}_IMAGE")
    if given:
        yield given
        return
    tag = f"mlops-{kind}:test-{uuid.uuid4().hex[:8]}"
    build(kind, tag, base_image, *options)
    yield tag
    engine.remove_image(tag, force=True)


def build(kind: str, tag: str, base_image: str, *options: str) -> None:
    command = [
        *("docker", "build", "--force-rm", "--network", "host", "--build-arg", f"BASE_IMAGE={base_image}", *options),
        *("--build-arg", "REVISION=test", "--file", f"docker/{kind}/Dockerfile", "--tag", tag, "."),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
