from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_mlops.evidence import Origin
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.mlflow import MLflowHook, origin_key

SECRET = "s3cr3t-t0k3n"


@pytest.fixture
def answers():
    """A server that answers with what the test says and remembers what it was asked."""
    seen: dict = {"codes": {}, "headers": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen["headers"].append(self.headers.get("Authorization"))
            self.send_response(seen["codes"].get(self.path.split("?")[0], 200))
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    seen["url"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"host": "http://mlflow.example.com:5000/"}, "http://mlflow.example.com:5000"),
        ({"host": "mlflow.example.com"}, "http://mlflow.example.com"),
        ({"host": "mlflow.example.com", "schema": "https", "port": 8443}, "https://mlflow.example.com:8443"),
    ],
)
def test_the_address_is_the_connections(connection, fields, address):
    connection("mlflow_default", conn_type="mlflow", **fields)
    assert MLflowHook().tracking_uri == address


def test_a_connection_without_a_host_says_what_is_missing(connection):
    connection("mlflow_other", conn_type="mlflow")
    with pytest.raises(SpecificationError, match="connection 'mlflow_other': host: None is not accepted; expected the"):
        _ = MLflowHook("mlflow_other").tracking_uri
    assert MLflowHook("mlflow_other").test_connection()[0] is False


def test_a_password_alone_is_a_token(connection):
    connection("mlflow_default", conn_type="mlflow", host="http://x", password=SECRET)
    assert MLflowHook().server.credentials == {"MLFLOW_TRACKING_TOKEN": SECRET}
    connection("mlflow_default", conn_type="mlflow", host="http://x", login="me", password=SECRET)
    assert MLflowHook().server.credentials == {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRET}


def test_the_secret_is_masked_in_logs(connection):
    from airflow.sdk._shared.secrets_masker import redact

    connection("mlflow_default", conn_type="mlflow", host="http://x", password=SECRET)
    _ = MLflowHook().server
    assert SECRET not in str(redact(f"token {SECRET}"))


def test_the_connection_test_sends_the_token_and_never_shows_it(connection, answers):
    connection("mlflow_default", conn_type="mlflow", host=answers["url"], password=SECRET)
    worked, message = MLflowHook().test_connection()
    assert (worked, SECRET in message) == (True, False)
    assert answers["headers"] == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("/health", 502, "/health answers 502"),
        ("/api/2.0/mlflow/registered-models/search", 401, "the model registry answers 401"),
    ],
)
def test_the_connection_test_says_what_fails(connection, answers, path, code, said):
    answers["codes"][path] = code
    connection("mlflow_default", conn_type="mlflow", host=answers["url"], password=SECRET)
    worked, message = MLflowHook().test_connection()
    assert not worked
    assert said in message
    assert SECRET not in message


def test_the_connection_test_of_nobody_is_quick_and_clear(connection, free_port):
    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}", password=SECRET)
    worked, message = MLflowHook().test_connection()
    assert not worked
    assert f"MLflow at http://127.0.0.1:{free_port} does not answer" in message


def test_a_task_keeps_its_key_over_tries_and_shares_it_with_nobody():
    first = Origin(dag_id="d", run_id="r", task_id="t", try_number=1)
    assert origin_key(first) == origin_key(Origin(dag_id="d", run_id="r", task_id="t", try_number=2))
    assert origin_key(first) != origin_key(Origin(dag_id="d", run_id="r", task_id="t", try_number=1, map_index=0))


@pytest.mark.stack
def test_a_real_server_passes_and_keeps_one_run_per_task(connection, mlflow_server):
    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    hook = MLflowHook()
    assert hook.test_connection() == (True, f"MLflow at {mlflow_server} is healthy and its model registry answers")
    who = Origin(dag_id="d", run_id="it's", task_id="t", try_number=1)
    run_id = hook.start_run("flights", who, name="train", tags={"model": "flights"})
    assert hook.start_run("flights", who, name="train") == run_id
    hook.finish_run(run_id, "FINISHED")
    with hook.server.session("looking") as client:
        run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["mlops.dag_id"], run.data.tags["model"]) == ("FINISHED", "d", "flights")
    assert hook.run_url(run_id) == f"{mlflow_server}/#/experiments/{run.info.experiment_id}/runs/{run_id}"
    assert json.dumps(hook.server.tracking_uri)
