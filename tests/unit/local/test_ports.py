from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from airflow_mlops.exceptions import ConflictError
from airflow_mlops.local.ports import PORT_OPTIONS, check_ports
from airflow_mlops.local.settings import Ports

pytest.importorskip("psutil")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ports() -> Ports:
    singles = ("airflow", "mlflow", "gateway", "gateway_admin", "worker_log", "trigger_log")
    return Ports(**{name: free_port() for name in singles}, server_first=1024, server_count=10)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_free_ports_pass(ports: Ports) -> None:
    check_ports(ports, with_airflow=True)


def test_a_taken_port_is_named_with_service_holder_and_option(ports: Ports, taken: int) -> None:
    with pytest.raises(ConflictError) as caught:
        check_ports(replace(ports, mlflow=taken), with_airflow=True)
    message = str(caught.value)
    assert "nothing was started" in message
    assert f"{taken} for mlflow is in use by process {os.getpid()} (" in message
    assert "choose another with --mlflow-port" in message
    assert "--port-base" in message


def test_all_taken_ports_are_named_at_once(ports: Ports, taken: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        second = other.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"{taken} for envoy's statistics.*\n.*{second} for airflow-scheduler"):
            check_ports(replace(ports, gateway_admin=taken, worker_log=second), with_airflow=True)


def test_airflows_ports_do_not_matter_without_airflow(ports: Ports, taken: int) -> None:
    check_ports(replace(ports, airflow=taken), with_airflow=False)


def test_a_port_for_administrators_only_is_an_error_of_its_own(ports: Ports) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may use every port")
    with pytest.raises(ConflictError, match="port 1 cannot be used on 127"):
        check_ports(replace(ports, mlflow=1), with_airflow=False)


def test_every_port_has_an_option() -> None:
    assert set(PORT_OPTIONS) == {name for name, _ in Ports().named()}
