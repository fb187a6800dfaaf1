"""A real model server for tests: started as the embedded stack starts it, and always stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunningServer", "model_server", "start_model_server"]

_START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class RunningServer:
    """A model server's process.

    :param url: its address
    :param log: what it says
    :param predictions: folder of its prediction log
    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    predictions: Path

    def answers(self) -> bool:
        """Whether it answers its health probe."""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=2):  # noqa: S310 - our own server
                return True
        except (urllib.error.URLError, OSError):
            return False

    def wait_ready(self) -> None:
        """Wait until it answers its health probe.

        :raises RuntimeError: with its log, if it ends or takes too long
        """
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.05)
        raise RuntimeError(f"the model server did not become ready:\n{self.log.read_text()[-3000:]}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)


def start_model_server(
    python: Path,
    model: Path,
    digest: str,
    *,
    port: int,
    home: Path,
    version: str = "1",
    model_name: str = "flights",
    options: Sequence[str] = (),
) -> RunningServer:
    """Start a model server and return at once.

    :param python: interpreter of the model environment
    :param model: the model's directory
    :param home: folder for its log and its prediction log
    :param options: further options of the command line
    """
    home.mkdir(parents=True, exist_ok=True)
    name = f"{model_name}-v{version}"
    log = home / f"{name}.log"
    command = [
        *(str(python), "-m", "airflow_mlops.container.server", "--name", name, "--model-name", model_name),
        *("--version", version, "--model-dir", str(model), "--digest", digest, "--port", str(port)),
        *("--prediction-log", str(home / "predictions"), *options),
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTEST"))}
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdout=stream, stderr=subprocess.STDOUT, cwd=home, env=environment
        )
    return RunningServer(process=process, url=f"http://127.0.0.1:{port}", log=log, predictions=home / "predictions")


@contextmanager
def model_server(
    python: Path,
    model: Path,
    digest: str,
    *,
    port: int,
    home: Path,
    version: str = "1",
    model_name: str = "flights",
    options: Sequence[str] = (),
) -> Iterator[RunningServer]:
    """Start a model server, wait until it is ready, stop it at the end; see :func:`start_model_server`."""
    server = start_model_server(
        python, model, digest, port=port, home=home, version=version, model_name=model_name, options=options
    )
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop(signal.SIGKILL)
