"""Drives one rollout in a cluster, as a process that kills itself at a boundary; see ``test_rollout_kills.py``.

Takes one JSON document: kubeconfig, namespace, route, candidate, holder, lease_seconds, spec, admin_url, no_metrics (a
file; while it exists, there are no measurements) and kill: null or the n-th call of a name, before or after it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects, connect
from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics
from airflow_mlops.adapters.traffic.gateway_api import GatewayApiRouter
from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore
from airflow_mlops.clock import SystemClock
from airflow_mlops.codec import decode
from airflow_mlops.exceptions import MLOpsError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import ArmCounters
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.testing.port_faults import Boundary, faulty
from airflow_mlops.testing.rollout_process import drive

PORT = 8000


class Suicide(Boundary):
    """Ends the process at the n-th call of a name."""

    def __init__(self, kill: tuple[str, int, str] | None) -> None:
        super().__init__()
        self.kill = kill

    def pass_through(self, name: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(name)
        short = name.rpartition(".")[2]
        seen = sum(one.rpartition(".")[2] == short for one in self.calls)
        hit = self.kill is not None and self.kill[:2] == (short, seen)
        if hit and self.kill[2] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*args, **kwargs)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class Statistics:
    """Envoy's counters; its clusters are named by namespace, Service and port."""

    def __init__(self, admin_url: str, namespace: str, no_metrics: Path) -> None:
        self._envoy = EnvoyStatistics(admin_url)
        self._namespace = namespace
        self._no_metrics = no_metrics

    def read(
        self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()
    ) -> Mapping[str, ArmCounters]:
        if self._no_metrics.exists():
            raise TransientAdapterError("the source of measurements does not answer")
        names = {f"{self._namespace}/{target}_{PORT}": target for target in targets}
        found = self._envoy.read(list(names), slow_ms=slow_ms, tallies=tallies)
        return {names[name]: counters for name, counters in found.items()}


class Fleet:
    """Servers whose Services are there."""

    def status(self, name: str) -> ServerStatus:
        return ServerStatus(name=name, phase="ready", port=PORT)


def main() -> int:
    order = json.loads(sys.argv[1])
    objects = KubernetesObjects(connect(kubeconfig=order["kubeconfig"]), order["namespace"], timeout_seconds=2.0)
    boundary = Suicide(tuple(order["kill"]) if order["kill"] else None)
    statistics = Statistics(order["admin_url"], order["namespace"], Path(order["no_metrics"]))
    gateway = Gateway(
        router=faulty(GatewayApiRouter(objects), boundary),
        store=faulty(LeaseRolloutStore(objects, kind="gateway_api"), boundary),
        metrics=statistics,
        clock=SystemClock(),
    )
    while True:
        try:
            state = drive(
                gateway,
                Fleet(),
                route=order["route"],
                candidate=order["candidate"],
                spec=decode(RolloutSpec, order["spec"]),
                holder=order["holder"],
                lease_seconds=order["lease_seconds"],
                pause=time.sleep,
            )
        except TransientAdapterError as error:
            print("try again:", error, flush=True)
            time.sleep(0.5)
            continue
        except MLOpsError as error:
            print("failed:", error, flush=True)
            return 1
        print(state.phase, state.reason, flush=True)
        return 0


if __name__ == "__main__":
    sys.exit(main())
