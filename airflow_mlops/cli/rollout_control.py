"""What the commands do that look at rollouts under way, or change them; no scheduler is needed for any of it."""

from __future__ import annotations

import argparse
import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.cli.output import columns, exits, say
from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.rollout.by_hand import Standing

__all__ = ["abort", "approve", "match", "plan", "status", "stick"]

_HEAD = ("ROUTE", "PHASE", "STEP", "CANDIDATE", "STABLE", "WEIGHTS", "VERDICT", "MISSING", "HOLDER", "LEASE")


@exits
def status(args: argparse.Namespace) -> int:
    """Say where the rollouts of a gateway are."""
    from airflow_mlops.rollout.by_hand import standing

    gateway = _hook(args).gateway()
    routes = [args.route] if args.route else gateway.store.routes()
    found = [standing(gateway, route) for route in routes]
    if args.json:
        print(json.dumps([encode(one) for one in found], indent=2))
        return 0
    if not found:
        say("no route of this gateway has a rollout")
        return 0
    say(columns([_HEAD, *map(_row, found)]))
    for one in found:
        for line in _remarks(one):
            say(line)
    return 0


@exits
def approve(args: argparse.Namespace) -> int:
    """Approve the step of a rollout that waits for it."""
    from airflow_mlops.rollout.by_hand import approve_by_hand

    who = getpass.getuser()
    by = f"{who} ({args.comment})" if args.comment else who
    state = approve_by_hand(_hook(args).gateway(), args.route, by=by)
    say(f"{args.route}: {state.reason}; its next look goes on if it finds no harm")
    return 0


@exits
def abort(args: argparse.Namespace) -> int:
    """Give all traffic of a route back to its stable model, for good."""
    from airflow_mlops.rollout.by_hand import abort_by_hand
    from airflow_mlops.rollout.mirroring import abort_shadow

    who, gateway = getpass.getuser(), _hook(args).gateway()
    copied_to = abort_shadow(gateway, args.route)
    if copied_to is not None:
        say(f"{args.route}: no more requests are copied to {copied_to}; the task of its shadow fails")
        return 0
    reason = f"aborted by {who}" + (f": {args.comment}" if args.comment else "")
    state = abort_by_hand(gateway, args.route, reason=reason, by=who)
    say(f"{args.route}: all traffic went back to {state.stable}: {state.reason}")
    return 0


@exits
def plan(args: argparse.Namespace) -> int:
    """Say what a rollout would do if it began now; nothing is changed."""
    from airflow_mlops.hooks.documents import load_document
    from airflow_mlops.rollout.preview import preview, tell
    from airflow_mlops.rollout.spec import RolloutSpec

    spec = decode(RolloutSpec, load_document(args.spec, field="spec", folder=Path.cwd()), where="spec")
    hook = _hook(args)
    found = preview(hook.gateway(), hook.fleet(), route=args.route, candidate=args.candidate, spec=spec)
    if args.json:
        print(json.dumps(encode(found), indent=2))
        return 0
    for line in tell(found):
        say(line)
    return 0


@exits
def stick(args: argparse.Namespace) -> int:
    """Keep a route's callers at one model by a key of theirs, or no longer."""
    from airflow_mlops.rollout.routing import Sticky
    from airflow_mlops.rollout.stickiness import keep_callers

    wanted = None if args.off else Sticky(header=args.header, cookie=args.cookie)
    if args.off and (args.header or args.cookie):
        raise SpecificationError("--off", "--off", "nothing beside it: no --header and no --cookie")
    view = keep_callers(_hook(args).gateway(), args.route, wanted, by=getpass.getuser())
    key = "" if view.sticky is None else view.sticky.header or f"cookie {view.sticky.cookie}"
    say(f"{args.route}: " + (f"callers stay at one model by {key}" if key else "every request goes by chance"))
    return 0


@exits
def match(args: argparse.Namespace) -> int:
    """Send the requests of testers to one model by headers of theirs, or no longer."""
    from airflow_mlops.rollout.routing import Match
    from airflow_mlops.rollout.testers import send_testers

    if args.off and (args.header or args.target):
        raise SpecificationError("--off", "--off", "nothing beside it: no --header and no --target")
    if not args.off and not args.target:
        raise SpecificationError("--target", args.target, "the model server that gets these requests, or --off")
    wanted = None if args.off else Match(target=args.target, headers=dict(map(_header, args.header)))
    hook = _hook(args)
    view = send_testers(hook.gateway(), hook.fleet(), args.route, wanted, by=getpass.getuser())
    if view.match is None:
        say(f"{args.route}: no request is sent by its headers")
        return 0
    headers = " and ".join(f"{name}: {value}" for name, value in sorted(view.match.headers.items()))
    say(f"{args.route}: requests with {headers} go to {view.match.target} until a rollout begins")
    return 0


def _header(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise SpecificationError("--header", text, "NAME=VALUE")
    return name.strip(), value.strip()


def _hook(args: argparse.Namespace) -> ModelGatewayHook:
    from airflow_mlops.hooks.gateway import ModelGatewayHook

    # Airflow's own commands do the same; without it only connections from the environment are found.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    return ModelGatewayHook(args.gateway_conn_id)


def _row(one: Standing) -> tuple[str, ...]:
    return (
        one.route,
        "awaits approval" if one.awaits_approval else one.phase.replace("_", " "),
        f"{one.step}/{one.steps}" if one.steps else "",
        one.candidate or "",
        one.stable or "",
        ", ".join(f"{name} {weight} %" for name, weight in one.weights.items()),
        "" if one.verdict is None else one.verdict.value,
        "" if one.requests_missing is None else f"{one.requests_missing:,}",
        one.holder,
        "" if one.seconds_left is None else f"{one.seconds_left:.0f} s" if one.seconds_left > 0 else "expired",
    )


def _remarks(one: Standing) -> list[str]:
    lines = [f"{one.route}: {one.reason}"] if one.reason else []
    if one.problem:
        lines.append(f"{one.route}: {one.problem}")
    if one.phase == "progressing" and dict(one.weights) != dict(one.intended):
        wanted = ", ".join(f"{name} {weight} %" for name, weight in one.intended.items())
        lines.append(f"{one.route}: the rollout wants {wanted}")
    return lines
