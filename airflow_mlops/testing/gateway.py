"""A real Envoy and scripted model servers, for tests of rollouts on one machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from airflow_mlops.adapters.traffic.envoy_files import write_bootstrap
from airflow_mlops.rollout.routing import Sticky

__all__ = ["Gateway", "ScriptedServer", "Traffic", "ask", "scripted_server"]


class ScriptedServer(ThreadingHTTPServer):
    """Answers every request; the share of failures and the delay can be changed while it runs.

    :param port: TCP port on the loopback interface
    :param error_rate: share of requests answered with status 500
    :param delay_seconds: time before every answer
    :param seed: of the random choice which requests fail
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, *, error_rate: float = 0.0, delay_seconds: float = 0.0, seed: int = 0) -> None:
        self.error_rate = error_rate
        self.delay_seconds = delay_seconds
        self._random = random.Random(seed)  # noqa: S311 - reproducible failures, no secrets
        super().__init__(("127.0.0.1", port), _Handler)

    def fails_now(self) -> bool:
        """Decide whether the present request fails."""
        return self._random.random() < self.error_rate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body leave in one packet; apart, the second would wait for the acknowledgement of the first.
    wbufsize = 65536

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, ScriptedServer)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        if server.delay_seconds:
            time.sleep(server.delay_seconds)
        body = json.dumps({"outputs": []}).encode()
        self.send_response(500 if server.fails_now() else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - names that http.server asks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Stay silent."""


@contextlib.contextmanager
def scripted_server(port: int, **script: Any) -> Iterator[ScriptedServer]:
    """Run a :class:`ScriptedServer` while the block runs."""
    server = ScriptedServer(port, **script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Gateway:
    """Envoy over a gateway folder.

    :param directory: the gateway's folder
    :param listen_port: where predictions are asked for
    :param admin_port: Envoy's own interface
    :param users: header or cookie that names the user, for a log of users
    """

    def __init__(self, directory: Path, *, listen_port: int, admin_port: int, users: Sticky | None = None) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{listen_port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self._bootstrap = write_bootstrap(directory, listen_port=listen_port, admin_port=admin_port, users=users)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start Envoy and wait until it is ready."""
        import envoy  # noqa: PLC0415 - only here, and large

        with (self.directory / "envoy.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary and file
                [
                    *(str(Path(envoy.__file__).parent / "_bin" / "envoy"), "--config-path", str(self._bootstrap)),
                    *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"),
                    *("--file-flush-interval-msec", "500"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self._is_ready():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"Envoy did not start: {(self.directory / 'envoy.log').read_text()[-2000:]}")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.admin_url}/ready", timeout=1) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def kill(self) -> None:
        """End Envoy at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(self, model: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Send one request; return its status and the target that answered, empty when none did."""
        return ask(self.url, model, headers)


def ask(url: str, model: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Send one request to a gateway; return its status and the target that answered, empty when none did."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=15)
    try:
        connection.request("POST", f"/v2/models/{model}/infer", body=b"{}", headers=dict(headers or {}))
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("x-model-version", "")
    finally:
        connection.close()


class Traffic:
    """A steady stream of requests in the background, counted by time and target.

    :param rate: requests per second
    """

    def __init__(self, gateway: Gateway, model: str, *, rate: float = 100.0, workers: int = 4) -> None:
        self._gateway = gateway
        self._model = model
        self._pause = workers / rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(workers)]
        self.answers: list[tuple[float, int, str]] = []

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._gateway.url.removeprefix("http://"), timeout=15)
        due = time.monotonic()
        while not self._stop.is_set():
            due = max(due + self._pause, time.monotonic() - 1.0)
            try:
                connection.request("POST", f"/v2/models/{self._model}/infer", body=b"{}")
                answer = connection.getresponse()
                answer.read()
                self.answers.append((time.time(), answer.status, answer.getheader("x-model-version", "")))
            except (OSError, http.client.HTTPException):
                self.answers.append((time.time(), 0, ""))
                connection.close()
            self._stop.wait(max(0.0, due - time.monotonic()))
        connection.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def targets(self, *, after: float = 0.0) -> Counter[str]:
        """Count answers per target since a moment."""
        return Counter(target for at, _, target in self.answers if at >= after)
