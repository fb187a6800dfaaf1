"""The stories' client of Airflow's API, against a server that loses answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from demo.airflow_api import AirflowApi


class Forgetful(BaseHTTPRequestHandler):
    """Starts what it is asked to start, but its first answer is lost on the way."""

    runs: dict[str, dict[str, object]]
    asked: int

    def do_GET(self) -> None:
        self._answer(200, {"access_token": "t"})

    def do_POST(self) -> None:
        server = type(self)
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked += 1
        known = document["dag_run_id"] in server.runs
        server.runs.setdefault(document["dag_run_id"], document["conf"])
        if server.asked == 1:
            self.connection.close()
            return
        self._answer(409 if known else 200, {"dag_run_id": document["dag_run_id"]})

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep the tests' output quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[Forgetful]]]:
    handler = type("Handler", (Forgetful,), {"runs": {}, "asked": 0})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    httpd.handle_error = lambda *_: None  # type: ignore[method-assign] - the lost answer is meant
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}", handler
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_lost_answer_starts_no_second_run(server: tuple[str, type[Forgetful]]) -> None:
    url, handler = server
    api = AirflowApi(url)
    first = api.trigger("ct_flights", {"months": ["2013-01"]})
    assert handler.asked == 2
    assert handler.runs == {first: {"months": ["2013-01"]}}
    second = api.trigger("ct_flights", {"months": ["2013-02"]})
    assert list(handler.runs) == [first, second]
