"""Helm's engine for tests of the chart, which needs no cluster to lint and render."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.helm.engine import Helm


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    if importlib.util.find_spec("helm_python") is None:
        pytest.skip("there is no Helm engine for this platform: helm-python-sdk is not installed")
    helm = Helm()
    yield helm
    helm.close()
