"""Who is told what a rollout decided."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from airflow.sdk import BaseNotifier

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.notifications.rollout import RolloutNotifier
from airflow_mlops.operators.rollout_notices import check_notices, notify, rollout_facts
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.rollout.step import abort

SPEC = RolloutSpec(steps=(CanaryStep(weight_percent=20), CanaryStep(weight_percent=50)))
STATE = begin(spec=SPEC, model_name="flights", candidate="flights-v2", stable="flights-v1", now=5.0)


class Chat:
    """A web service that keeps what it is sent."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, str | None, Any]] = []
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                chat.got.append((self.path, self.headers["Authorization"], body))
                self.send_response(chat.status)
                self.end_headers()
                self.wfile.write(b"no such channel")

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def chat(connection: Callable[..., None]) -> Iterator[Chat]:
    chat = Chat()
    connection(
        "chat",
        conn_type="http",
        host="http://127.0.0.1",
        port=chat.server.server_port,
        password="s3cret",
        extra={"path": "hook/1"},
    )
    yield chat
    chat.server.shutdown()
    chat.server.server_close()
    chat.thread.join()


def test_one_sentence_and_the_facts(chat: Chat) -> None:
    facts = rollout_facts(abort(STATE, 9.0, "errors are worse beyond chance"), evidence_uri="file:///e")
    notify({}, RolloutNotifier(http_conn_id="chat", with_facts=True), facts)  # type: ignore[typeddict-item]
    ((path, token, body),) = chat.got
    assert (path, token) == ("/hook/1", "Bearer s3cret")
    assert body["text"] == ("flights-v2 was rolled back on route flights to flights-v1: errors are worse beyond chance")
    assert body["rollout"]["phase"] == "rolled_back"
    assert body["rollout"]["weights"] == {"flights-v1": 100}
    assert body["rollout"]["evidence_uri"] == "file:///e"


def test_a_step_that_waits_for_a_person() -> None:
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=20, approval=True),))
    facts = rollout_facts(replace(STATE, spec=spec, proven="errors are no more"))
    assert facts["awaits_approval"]
    assert facts["sentence"].startswith("flights-v2 waits for approval on route flights: ")
    assert not rollout_facts(STATE)["awaits_approval"]


def test_the_same_notifier_tells_every_step(chat: Chat) -> None:
    """Airflow renders a notifier into itself; the second step must not hear of the first."""
    notifier = RolloutNotifier(http_conn_id="chat", message="step {{ rollout.step }} of {{ rollout.steps }}")
    for index in (0, 1):
        notify({}, [notifier], rollout_facts(replace(STATE, step_index=index)))  # type: ignore[typeddict-item]
    assert [body for _, _, body in chat.got] == [{"text": "step 1 of 2"}, {"text": "step 2 of 2"}]


def test_from_a_triggerer(chat: Chat) -> None:
    context: Any = {"rollout": rollout_facts(STATE)}

    async def tell() -> None:
        await RolloutNotifier(http_conn_id="chat", context=context)

    asyncio.run(tell())
    assert chat.got[0][2]["text"].startswith(
        "flights-v2 goes on at route flights with flights-v2 20 %, flights-v1 80 %"
    )


def test_one_that_fails_is_logged_and_the_others_are_called(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    told = []

    class Broken(BaseNotifier):
        def notify(self, context: Any) -> None:
            raise RuntimeError("out of paper")

    chat.status = 404
    with caplog.at_level(logging.ERROR):
        notify({}, [Broken(), RolloutNotifier(http_conn_id="chat"), told.append], rollout_facts(STATE))  # type: ignore[typeddict-item]
    assert told[0]["rollout"]["route"] == "flights"
    assert "out of paper" in caplog.text
    assert "connection 'chat' answered 404: no such channel" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_service_that_is_away(connection: Callable[..., None], free_port: int) -> None:
    connection("chat", conn_type="http", host="http://127.0.0.1", port=free_port)
    with pytest.raises(PermanentAdapterError, match="connection 'chat' does not answer"):
        RolloutNotifier(http_conn_id="chat", message="hello")({})
    connection("chat", conn_type="http")
    with pytest.raises(SpecificationError, match="the service's URL"):
        RolloutNotifier(http_conn_id="chat", message="hello")({})


@pytest.mark.parametrize("given", ["mail", 3, ["mail"]])
def test_what_cannot_be_called_is_named(given: Any) -> None:
    with pytest.raises(SpecificationError, match="expected a notifier, or a list of them"):
        check_notices("on_step", given)
    check_notices("on_step", ())
    check_notices("on_step", print)
