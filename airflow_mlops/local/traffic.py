"""The traffic generator: replays prepared requests at a steady rate and appends their labels later.

``python -m airflow_mlops.local.traffic --requests FILE --rate N --url http://…/v2/models/flights/infer --trace FILE
--labels FILE --label-delay-seconds S [--loop]``

It is open-loop: requests go out by the clock, whether or not earlier ones were answered, as real callers do. At most
``--max-in-flight`` are under way; what would exceed that is not sent and is counted as *dropped by the generator*.
Every request that was sent leaves a line ``{"t", "id", "status", "ms", "server"}`` in the trace, with status 0 and the
kind of error where no answer came. Labels follow the answer, good or bad, after the delay: flights land in any case.
A generator that was killed appends on its next start the labels that it owed; labels may so come twice, the last wins.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.exceptions import MLOpsError
from airflow_mlops.local.generator import Traffic
from airflow_mlops.local.prepared import PreparedRequest, TrafficOptions, load_requests

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the generator; return the process's exit status."""
    given = vars(_parser().parse_args(arguments))
    try:
        options = TrafficOptions(**given)
        asyncio.run(_run(options, load_requests(options.requests)))
    except (MLOpsError, OSError) as error:
        print(f"traffic: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _run(options: TrafficOptions, requests: Sequence[PreparedRequest]) -> None:
    traffic = Traffic(options, requests)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, traffic.stop)
    await traffic.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airflow_mlops.local.traffic", description="Replay prepared requests.")
    parser.add_argument("--url", required=True, help="inference URL, ending in /infer")
    parser.add_argument("--requests", required=True, type=Path, help="JSON lines {id, features, label}")
    parser.add_argument("--rate", required=True, type=float, help="requests per second")
    parser.add_argument("--trace", required=True, type=Path, help="file that receives what was answered")
    parser.add_argument("--labels", required=True, type=Path, help="file that receives the labels")
    parser.add_argument("--label-delay-seconds", type=float, default=1.0, help="from an answer to its label")
    parser.add_argument("--loop", action="store_true", help="start again at the end of the requests")
    parser.add_argument("--limit", type=int, help="stop after so many requests")
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--max-in-flight", type=int, default=64, help="bound on unanswered requests")
    parser.add_argument("--timeout-seconds", type=float, default=5.0, help="give a request up after this time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
