"""Whether the stack's ports are free, and who holds them if not; asked before anything is started."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from airflow_mlops.exceptions import ConflictError
from airflow_mlops.local.settings import Ports

__all__ = ["PORT_OPTIONS", "check_ports"]

# Field of Ports → what listens there, and the option that moves it.
PORT_OPTIONS = {
    "airflow": ("airflow-api-server", "--airflow-port"),
    "mlflow": ("mlflow", "--mlflow-port"),
    "gateway": ("envoy", "--gateway-port"),
    "gateway_admin": ("envoy's statistics", "--gateway-admin-port"),
    "worker_log": ("airflow-scheduler's task logs", "--worker-log-port"),
    "trigger_log": ("airflow-triggerer's logs", "--trigger-log-port"),
    "server_first": ("model servers", "--server-port-first"),
}
_OF_AIRFLOW = ("airflow", "worker_log", "trigger_log")
# Airflow's log servers know no address: they listen on all.
_ON_ALL_ADDRESSES = ("worker_log", "trigger_log")


def check_ports(ports: Ports, *, with_airflow: bool) -> None:
    """Make sure that every service will get its port.

    Model servers take any free port of their range, so those are looked at when a server starts.

    :raises ConflictError: naming every port that is taken, its service, its holder and the option that changes it
    """
    taken = list(_taken(ports, with_airflow=with_airflow))
    if taken:
        raise ConflictError(
            "nothing was started, because ports are taken:\n" + "\n".join(f"  {line}" for line in taken)
            + "\nanother port, or --port-base N for a block of ports of its own, solves it"
        )  # fmt: skip


def _taken(ports: Ports, *, with_airflow: bool) -> Iterator[str]:
    for name, port in ports.named():
        if name == "server_first" or (name in _OF_AIRFLOW and not with_airflow):
            continue
        address = "0.0.0.0" if name in _ON_ALL_ADDRESSES else "127.0.0.1"  # noqa: S104 - where Airflow listens
        if not can_bind(address, port):
            service, option = PORT_OPTIONS[name]
            yield f"{port} for {service} is in use by {_holder(port)}; choose another with {option}"


def can_bind(address: str, port: int) -> bool:
    """Whether a server could listen there now.

    :raises ConflictError: if the system forbids this port
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        # Servers set this too: connections of an earlier process that linger are no obstacle.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ConflictError(f"port {port} cannot be used on {address}: {error.strerror}") from error
    return True


def _holder(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.laddr and connection.laddr.port == port and connection.pid is not None:
                process = psutil.Process(connection.pid)
                words = " ".join(process.cmdline()) or process.name()
                return f"process {connection.pid} ({words[:80]})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "a process that this user may not see"
