"""A real Prometheus server for a test, from the machine's own binary, and an exporter that says what it is told."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["SCRAPE_SECONDS", "Exporter", "exporter", "prometheus_server"]

SCRAPE_SECONDS = 0.5
_START_SECONDS = 30
#: ``open sesame``, as bcrypt with few rounds.
_HASH = "$2b$04$1gVT579Y6Cti5wvv8sMT0eTAVHI.4R9TMLqPdUdZzWSDk39jFqY2q"


class Exporter(http.server.ThreadingHTTPServer):
    """Answers scrapes with :attr:`text`; None refuses them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.text: str | None = ""
        self.scrapes = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        """Host and port, as a server is configured with."""
        return f"127.0.0.1:{self.server_address[1]}"

    def show(self, text: str | None, *, scrapes: int = 3) -> None:
        """Say something else, and wait until that is stored.

        :param scrapes: how many to wait for: the first may still have got the old text, and only when the third comes
            is the second one stored
        """
        self.text = text
        wanted, deadline = self.scrapes + scrapes, time.monotonic() + 30
        while self.scrapes < wanted:
            assert time.monotonic() < deadline, "Prometheus does not scrape"
            time.sleep(0.02)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Any = self.server
        text = server.text
        self.send_response(503 if text is None else 200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write((text or "").encode())
        server.scrapes += 1

    def log_message(self, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def exporter() -> Iterator[Exporter]:
    """Run an exporter while the block runs."""
    server = Exporter()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def prometheus_server(
    folder: Path,
    targets: Sequence[str],
    *,
    path: str = "/metrics",
    user: str | None = None,
    discovery: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Start a Prometheus server of its own on a free port and stop it at the end; skips where it is not installed.

    :param folder: an existing folder, for its data and its log
    :param targets: host and port of what is scraped, at ``path``, twice a second
    :param discovery: what else is scraped: Prometheus' own words for finding it
    :param user: only this user may ask, with the password ``open sesame``
    :return: its URL
    """
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus server is installed here: install the package prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    scrape = {
        "job_name": "test",
        "metrics_path": path,
        "static_configs": [{"targets": list(targets)}],
        "scrape_interval": "500ms",
        "scrape_timeout": "500ms",
        **(discovery or {}),
    }
    # JSON is YAML.
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    command = [
        *(binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
    ]
    if user is not None:
        (folder / "web.yml").write_text(json.dumps({"basic_auth_users": {user: _HASH}}))
        command.append(f"--web.config.file={folder / 'web.yml'}")
    log = folder / "prometheus.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Prometheus did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code == 401
    except (urllib.error.URLError, ConnectionError):
        return False
