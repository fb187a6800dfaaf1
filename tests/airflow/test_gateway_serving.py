"""Model servers of a cluster through Airflow, as far as no cluster is needed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.operators.serving import StartModelServerOperator

pytest.importorskip("kubernetes")

MODEL = {"uri": "file:///srv/mlops/3", "digest": "sha256:" + "a" * 64, "format": "mlflow", "size_bytes": 1}
SERVING = {"image": "mlops-server:1", "artifacts": {"mount_path": "/srv/mlops", "claim": "store"}}


@pytest.fixture
def define(connection: Callable[..., None], silent_cluster: str) -> Callable[[Any], None]:
    """Define the gateway's connection, with what it says of model servers; the cluster does not answer."""

    def write(serving: Any) -> None:
        extra = {"kind": "gateway_api", "namespace": "models", "kubeconfig": silent_cluster, "serving": serving}
        connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", extra=extra)

    return write


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        (None, r"'model_gateway_default', extra\.serving\.image: None is not accepted"),
        ("two of them", r"'model_gateway_default', extra\.serving: 'two of them' is not accepted"),
        (SERVING | {"replica": 2}, r"extra\.serving\.replica: 2 is not accepted"),
        (SERVING | {"replicas": "2"}, r"extra\.serving\.replicas: '2' is not accepted; expected a whole number"),
        (SERVING | {"artifacts": {"mount_path": "/srv"}}, r"claim: None is not accepted; expected either a claim or a"),
    ],
)
def test_wrong_settings_are_named_by_their_place_in_the_connection(define, serving, message):
    define(serving)
    with pytest.raises(SpecificationError, match=message):
        ModelGatewayHook().fleet()


def start(**changes: Any) -> Any:
    arguments = {"model_name": "flights", "version": "3", "model": MODEL, "deferrable": False} | changes
    ti = SimpleNamespace(xcom_push=lambda **_: None)
    return StartModelServerOperator(task_id="start", **arguments).execute({"ti": ti})


def test_a_cluster_that_does_not_answer_may_pass(define):
    define(SERVING)
    with pytest.raises(Exception, match=r"GET Deployment models/flights-v3: the API server does not answer") as caught:
        start()
    assert not isinstance(caught.value, AirflowFailException)
