"""What all commands share: exit status, and tables for people."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import wraps

from airflow_mlops.exceptions import MLOpsError

__all__ = ["columns", "exits", "say"]


def exits(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], None]:
    """Turn a command's number into the exit status, and an expected error into one message."""

    @wraps(command)
    def run(args: argparse.Namespace) -> None:
        try:
            code = command(args)
        except MLOpsError as error:
            print(error, file=sys.stderr)
            code = 1
        if code:
            raise SystemExit(code)

    return run


def say(line: str) -> None:
    """Print a line at once: whoever reads through a pipe wants to see progress while it happens."""
    print(line, flush=True)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows with every column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
