"""Threads in which triggers do what blocks."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import ParamSpec, TypeVar

__all__ = ["in_thread"]

P = ParamSpec("P")
R = TypeVar("R")

# A thread that computes keeps the interpreter for 5 ms at a time: eight keep the triggerer's loop waiting for 40 ms. A
# pool of their own, so that looks at a gateway that does not answer hold up no other trigger's work.
_THREADS = 8


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call something that blocks, without blocking the triggerer; at most eight such calls run at a time."""
    call = partial(contextvars.copy_context().run, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_pool(), call)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="rollout-look")
