"""The gateway's connection: what it gives, and what it says when something is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.gateway import ModelGatewayHook


def define(connection: Callable[..., None], tmp_path: Path, **changes: Any) -> None:
    extra = {
        "admin_url": "http://127.0.0.1:9",
        "directory": str(tmp_path / "gateway"),
        "serving_directory": str(tmp_path / "serving"),
        **changes.pop("extra", {}),
    }
    connection(
        "model_gateway_default",
        **{"conn_type": "model_gateway", "host": "127.0.0.1", "port": 8100, **changes},
        extra=extra,
    )


@pytest.mark.parametrize(
    ("changes", "endpoint"),
    [
        ({}, "http://127.0.0.1:8100"),
        ({"port": None}, "http://127.0.0.1:8100"),
        ({"host": "https://models.example.com/", "port": None}, "https://models.example.com"),
    ],
)
def test_the_endpoint(connection: Callable[..., None], tmp_path: Path, changes: dict[str, Any], endpoint: str) -> None:
    define(connection, tmp_path, **changes)
    assert ModelGatewayHook().endpoint == endpoint


def test_the_ports_of_a_rollout_work_on_the_folder(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path)
    gateway = ModelGatewayHook().gateway()
    lease = gateway.store.acquire("m", "a", lease_seconds=60)
    gateway.router.ensure_targets("m", {"m-v1": 8201}, fencing_token=lease.token)
    assert (tmp_path / "gateway" / "routes" / "m.json").is_file()
    assert (tmp_path / "gateway" / "rollouts" / "m.json").is_file()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"directory": None},
            r"'model_gateway_default', extra\.directory: None .* absolute path of the gateway's folder",
        ),
        ({"directory": "gateway"}, r"extra\.directory: 'gateway' .* absolute path"),
        ({"serving_directory": ""}, r"extra\.serving_directory: '' .* absolute path of the model servers' folder"),
        ({"admin_url": None}, r"extra\.admin_url: None .* http://127\.0\.0\.1:8101"),
    ],
)
def test_a_missing_extra_is_named(
    connection: Callable[..., None], tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    define(connection, tmp_path, extra=extra)
    hook = ModelGatewayHook()
    with pytest.raises(SpecificationError, match=message):
        (hook.gateway(), hook.fleet())


def test_a_connection_without_host_is_refused(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path, host=None)
    with pytest.raises(SpecificationError, match="host: None is not accepted; expected a host name"):
        assert ModelGatewayHook().endpoint


def test_testing_says_that_nothing_answers(connection: Callable[..., None], tmp_path: Path, free_port: int) -> None:
    define(connection, tmp_path, extra={"admin_url": f"http://127.0.0.1:{free_port}"})
    works, message = ModelGatewayHook().test_connection()
    assert not works
    assert message.startswith("the gateway does not answer: ")


def test_testing_says_what_is_missing(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path, extra={"admin_url": None})
    assert "admin_url: None is not accepted" in ModelGatewayHook().test_connection()[1]


def test_a_trigger_reads_the_connection_without_blocking(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path)
    hook = asyncio.run(ModelGatewayHook.aopen("model_gateway_default"))
    assert hook.admin_url == "http://127.0.0.1:9"
