"""What a thousand waiting rollouts share in one triggerer."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.triggers.threads import in_thread

NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME")


def test_eight_threads_at_a_time_each_with_the_callers_context() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def look(number: int, *, plus: int) -> tuple[int, str]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return number + plus, NAME.get()

    async def one(number: int) -> tuple[int, str]:
        NAME.set(f"rollout {number}")
        return await in_thread(look, number, plus=100)

    async def all_of_them() -> list[tuple[int, str]]:
        return await asyncio.gather(*(one(number) for number in range(40)))

    assert asyncio.run(all_of_them()) == [(100 + number, f"rollout {number}") for number in range(40)]
    assert most <= 8


def test_a_cluster_has_one_client(connection: Callable[..., None], silent_cluster: str) -> None:
    extra = {"kind": "gateway_api", "namespace": "n", "kubeconfig": silent_cluster}
    connection("model_gateway_default", conn_type="model_gateway", extra=extra)

    def client() -> Any:
        return ModelGatewayHook()._client()

    first = client()
    assert client() is first
    os.utime(silent_cluster, (1, 1))
    assert client() is not first  # the file's credentials may be others now
