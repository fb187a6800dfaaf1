"""How child processes ended."""

from __future__ import annotations

import os
import signal

__all__ = ["describe", "exit_code"]


def exit_code(pid: int) -> int | None:
    """How a child ended, negative for a signal; None while it runs.

    The child stays to be waited for: until then the system gives its number to nobody else.
    """
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def describe(code: int) -> str:
    """Name an exit code for a person."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
