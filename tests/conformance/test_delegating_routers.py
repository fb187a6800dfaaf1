"""The routers of Istio, KServe and Argo over an API server in memory; tests/system has the same over a real one."""

from __future__ import annotations

import pytest

from airflow_mlops.adapters.traffic.argo_rollouts import ArgoRolloutsRouter
from airflow_mlops.adapters.traffic.istio import IstioRouter
from airflow_mlops.adapters.traffic.kserve import KServeRouter
from airflow_mlops.testing.kubernetes_api import MemoryKubernetes
from tests.system.kubernetes import test_router_argo, test_router_istio, test_router_kserve
from tests.system.kubernetes.routed import Objects

pytest.importorskip("kubernetes")


class _InMemory:
    test_missing_rights_are_named = None  # nobody is refused there


class TestIstioRouter(_InMemory, test_router_istio.TestIstioRouter):
    @pytest.fixture
    def objects(self) -> Objects:
        return Objects(MemoryKubernetes(), "models", IstioRouter.kind)


class TestKServeStandardMode(_InMemory, test_router_kserve.TestStandardMode):
    @pytest.fixture
    def objects(self) -> Objects:
        return Objects(MemoryKubernetes(), "models", KServeRouter.kind)


class TestKServeKnativeMode(_InMemory, test_router_kserve.TestKnativeMode):
    @pytest.fixture
    def objects(self) -> Objects:
        return Objects(MemoryKubernetes(), "models", KServeRouter.kind)


class TestArgoRolloutsRouter(_InMemory, test_router_argo.TestArgoRolloutsRouter):
    @pytest.fixture
    def objects(self) -> Objects:
        return Objects(MemoryKubernetes(), "models", ArgoRolloutsRouter.kind)
