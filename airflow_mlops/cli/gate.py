"""What the commands ``airflow mlops gate …`` do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.cli.output import exits, say
from airflow_mlops.codec import digest_of, encode
from airflow_mlops.exceptions import ContractError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.backtest import Replay

__all__ = ["backtest"]


@exits
def backtest(args: argparse.Namespace) -> int:
    """Judge what the gate judged before by another policy, and say which decisions would flip."""
    from airflow_mlops.evaluation.backtest import replay
    from airflow_mlops.evaluation.policy import parse_policy
    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.hooks.documents import load_document
    from airflow_mlops.hooks.evaluations import past_gates

    policy = parse_policy(load_document(args.policy, field="policy", folder=Path.cwd()))
    store = ArtifactStore.from_config()
    replays = [replay(past, policy) for past in past_gates(store, args.model)]
    _must_hold(replays, store.uri("evidence"), args.model)
    digest = digest_of(encode(policy))
    if args.json:
        found = [encode(one) | {"flips": one.flips} for one in replays]
        print(json.dumps({"policy_digest": digest, "decisions": found}, indent=2))
        return 0
    for line in _lines(replays):
        say(line)
    say(f"{_summary(replays)} under {args.policy} ({digest})")
    return 0


def _must_hold(replays: Sequence[Replay], where: str, model_name: str | None) -> None:
    about = "" if model_name is None else f" about {model_name!r}"
    if not replays:
        raise ContractError(f"there is nothing to replay: {where} holds no decision of a gate{about}")
    if all(one.would_be is None for one in replays):
        raise ContractError(
            f"there is nothing to replay: none of {len(replays)} decisions{about} still has its evaluation; "
            f"the newest: {replays[-1].why[0]}"
        )


def _lines(replays: Sequence[Replay]) -> list[str]:
    lines = []
    for one in replays:
        when = datetime.fromtimestamp(one.decided_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        head = f"{one.model_name}, {when}, {one.origin.dag_id} {one.origin.run_id}: {one.was.value}"
        if one.would_be is None:
            lines.append(f"{head}, cannot be replayed: {one.why[0]}")
        elif one.changes:
            same = "" if one.flips else f" ({'goes on' if one.was.promotes else 'is stopped'} either way)"
            lines.append(f"{head} -> {one.would_be.value}{same}")
            lines.extend(f"    {reason}" for reason in one.why)
    return lines


def _summary(replays: Sequence[Replay]) -> str:
    flips = sum(one.flips for one in replays)
    others = sum(one.changes for one in replays) - flips
    lost = sum(one.would_be is None for one in replays)
    parts = [f"{flips} of {len(replays)} past decisions would flip"]
    if others:
        parts.append(f"{others} more would change the verdict only")
    if lost:
        parts.append(f"{lost} cannot be replayed")
    return ", ".join(parts)
