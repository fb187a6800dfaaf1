"""The embedded stack as the stories use it: up, down, what Airflow and the gateway say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import httpx

from airflow_mlops.local.environments import PYTHON_VARIABLE, model_environment
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.replay import Replay, start_traffic, stop_traffic
from demo.airflow_api import AirflowApi

CHECKOUT = Path(__file__).resolve().parent.parent
MODEL = "flights"


class Stack:
    """One embedded stack below one folder.

    :param root: the folder
    :param port_base: first of a block of ports; None takes the usual ones
    """

    def __init__(self, root: Path, port_base: int | None = None) -> None:
        self.home = LocalHome(root)
        self.port_base = port_base

    @property
    def api(self) -> AirflowApi:
        """Airflow's REST API."""
        return AirflowApi(self.urls["airflow"])

    @property
    def urls(self) -> dict[str, str]:
        """Where the parts answer."""
        settings = self.home.settings()
        if settings is None:
            raise SystemExit(f"{self.home.root}: no stack was ever started here; run `make demo` first")
        ports = settings.ports
        return {
            "airflow": f"http://127.0.0.1:{ports.airflow}",
            "mlflow": f"http://127.0.0.1:{ports.mlflow}",
            "gateway": f"http://127.0.0.1:{ports.gateway}",
            "gateway_statistics": f"http://127.0.0.1:{ports.gateway_admin}/stats/prometheus",
        }

    def up(self) -> None:
        """Start what does not run yet and wait until all of it is healthy."""
        options = [] if self.port_base is None else ["--port-base", str(self.port_base)]
        os.environ[PYTHON_VARIABLE] = str(model_environment(CHECKOUT / "build" / "envs", progress=print))
        self._local("up", "--dags-folder", str(CHECKOUT / "dags"), *options)

    def down(self) -> None:
        """Stop everything."""
        if self.home.settings() is not None:
            self._local("down")

    def running(self) -> bool:
        """Whether every part is healthy."""
        return self.home.settings() is not None and self._airflow("status", quiet=True) == 0

    def reset(self) -> None:
        """Forget models, runs and traffic; keep settings, source data and environments."""
        self.down()
        for folder in (
            *(self.home.airflow, self.home.mlflow, self.home.artifacts, self.home.gateway, self.home.serving),
            *(self.home.predictions, self.home.labels, self.home.traffic, self.home.logs, self.home.run),
        ):
            shutil.rmtree(folder, ignore_errors=True)

    def start_traffic(self, requests: Path, *, per_second: float, loop: bool) -> None:
        """Let the supervised generator replay prepared requests; labels arrive a second later."""
        replay = Replay(
            requests=str(requests), model_name=MODEL, rate_per_second=per_second, label_delay_seconds=1.0, loop=loop
        )
        start_traffic(self.home, replay)

    def stop_traffic(self) -> None:
        """Stop the generator."""
        stop_traffic(self.home)

    def alias(self, alias: str) -> str | None:
        """Version that a registry alias points at; None where there is none."""
        version = self._aliased(alias)
        return None if version is None else str(version["version"])

    def trained_on(self, alias: str) -> str:
        """Partitions that an aliased version was trained on, as its tag says; empty where there is none."""
        tags = {tag["key"]: tag["value"] for tag in (self._aliased(alias) or {}).get("tags", ())}
        return str(tags.get("mlops.partitions.train", ""))

    def _aliased(self, alias: str) -> dict[str, Any] | None:
        url = f"{self.urls['mlflow']}/api/2.0/mlflow/registered-models/alias"
        answer = httpx.get(url, params={"name": MODEL, "alias": alias}, timeout=20)
        return dict(answer.json()["model_version"]) if answer.is_success else None

    def weights(self) -> dict[str, int]:
        """Live weights in per cent by server; empty before the first release."""
        path = self.home.gateway / "routes" / f"{MODEL}.json"
        return dict(json.loads(path.read_text())["weights"]) if path.exists() else {}

    def _local(self, *arguments: str) -> None:
        if self._airflow(*arguments) != 0:
            raise SystemExit(f"`airflow mlops local {arguments[0]}` failed; the lines above say why")

    def _airflow(self, *arguments: str, quiet: bool = False) -> int:
        command, *rest = arguments
        # Airflow's own command line wants a home of its own before anything is configured.
        environment = {**os.environ, "AIRFLOW_HOME": str(self.home.airflow)}
        output = subprocess.DEVNULL if quiet else None
        line = [sys.executable, "-m", "airflow", "mlops", "local", command, "--home", str(self.home.root), *rest]
        return subprocess.run(line, env=environment, stdout=output, stderr=output, check=False).returncode


class WeightsRecorder:
    """Watches the route and keeps every change of weights with its time.

    :param stack: the stack to watch
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.changes: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        last: dict[str, int] | None = None
        while not self._stop.wait(0.1):
            weights = self._stack.weights()
            if weights != last:
                last = weights
                self.changes.append({"at": round(time.time(), 2), "weights": weights})
