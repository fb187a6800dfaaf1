"""Users and their errors, out of an access log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.metrics.access_log import AccessLogTallies
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.observation import Tally


def write(folder: Path, *requests: tuple[str | None, float, Any], target: str = "m-v1") -> None:
    with (folder / "users.jsonl").open("a") as stream:
        for user, time, status in requests:
            # Envoy writes the time as a text.
            line = {"user": user, "time": f"{time:.3f}", "status": status, "target": target}
            stream.write(json.dumps(line) + "\n")


def users(source: AccessLogTallies, target: str = "m-v1") -> Tally:
    return source.read([target], ["users"])[target]["users"]


def test_a_user_counts_once_a_period_and_target_and_as_a_hit_once_a_request_failed(tmp_path: Path) -> None:
    source = AccessLogTallies(tmp_path, period_seconds=60)
    write(tmp_path, ("ada", 600, 200), ("ada", 601, 200), ("bob", 602, 503), ("bob", 603, 503), (None, 604, 500))
    assert users(source) == Tally(2, 1)
    write(tmp_path, ("ada", 610, 0), ("bob", 611, 200))
    assert users(source) == Tally(2, 2)
    write(tmp_path, ("ada", 660, 200), ("bob", 661, None), ("bob", 659, 200), ("eve", 658, 404))
    assert users(source) == Tally(5, 3)
    write(tmp_path, ("ada", 662, 500), target="m-v2")
    assert (users(source), users(source, "m-v2"), users(source, "m-v3")) == (Tally(5, 3), Tally(1, 1), Tally(0, 0))
    late = AccessLogTallies(tmp_path, period_seconds=60)
    assert (users(late), users(late, "m-v2")) == (Tally(5, 3), Tally(1, 1))


def test_what_comes_periods_too_late_counts_no_user_twice(tmp_path: Path) -> None:
    source = AccessLogTallies(tmp_path, period_seconds=60)
    write(tmp_path, ("ada", 600, 200), ("ada", 1200, 200), ("ada", 600, 500))
    assert users(source) == Tally(2, 0)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(PermanentAdapterError, match="there is no access log here"):
        users(AccessLogTallies(tmp_path / "none"))
    with pytest.raises(SpecificationError, match="period_seconds: 0"):
        AccessLogTallies(tmp_path, period_seconds=0)
    (tmp_path / "a.jsonl").write_text('{"user": "ada", "time": 1, "status": 200}\n')
    with pytest.raises(ContractError, match=r"a\.jsonl, at byte 0: target is missing"):
        users(AccessLogTallies(tmp_path))
