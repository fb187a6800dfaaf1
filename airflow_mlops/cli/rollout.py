"""What the commands ``airflow mlops rollout …`` do."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.cli.output import columns, exits, say
from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.rollout.simulate import Rate, Simulation
    from airflow_mlops.rollout.spec import RolloutSpec
    from airflow_mlops.rollout.traffic import Regression, Traffic

__all__ = ["simulate"]

_TRAFFIC = ("requests_per_second", "error_rate", "slow_share", "burstiness", "error_variation", "autocorrelation")
_INCREASE = re.compile(r"\+?(\d+(?:\.\d*)?|\.\d+)(%?)")


@exits
def simulate(args: argparse.Namespace) -> int:
    """Say how often a spec would be wrong, how long it would take and how many requests it would expose."""
    from airflow_mlops.hooks.documents import load_document
    from airflow_mlops.rollout import simulate as simulation
    from airflow_mlops.rollout.simulation_html import render_simulation
    from airflow_mlops.rollout.spec import RolloutSpec

    spec = decode(RolloutSpec, load_document(args.spec, field="spec", folder=Path.cwd()), where="spec")
    traffic = _traffic(args, spec)
    if spec.latency is None and (args.slow_share or args.slower_by):
        raise SpecificationError("spec.latency", None, "a check: slowness was stated, but this spec does not judge it")
    found = simulation.simulate(spec, traffic, _regressions(args), runs=args.runs, seed=args.seed)
    page = None if args.output is None else Path(args.output)
    if page is not None:
        _write(page, render_simulation(found, name=Path(args.spec).name))
    if args.json:
        print(json.dumps(encode(found), indent=2))
        return 0
    say(_table(found))
    say(_sentence(found))
    if page is not None:
        say(f"{page} shows it")
    return 0


def _traffic(args: argparse.Namespace, spec: RolloutSpec) -> Traffic:
    """Return the traffic that was described, or traffic like that of the past."""
    from airflow_mlops.rollout.past import read_windows, traffic_of
    from airflow_mlops.rollout.traffic import Traffic

    given = {name: getattr(args, name) for name in _TRAFFIC if getattr(args, name)}
    if args.past is None:
        if args.requests_per_second is None:
            raise SpecificationError("--requests-per-second", None, "a number, or --past with a file")
        return Traffic(**given)
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise SpecificationError(option, next(iter(given.values())), "nothing beside --past, which says it")
    try:
        text = Path(args.past).read_text(encoding="utf-8")
    except OSError as error:
        raise SpecificationError("--past", args.past, f"a file that can be read; {error.strerror}") from error
    seconds = spec.look_seconds if args.past_seconds is None else args.past_seconds
    traffic = traffic_of(read_windows(text), seconds=seconds, look_seconds=spec.look_seconds)
    if not args.json:
        parts = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in encode(traffic).items())
        say(f"traffic like that of {args.past}: {', '.join(parts)}")
    return traffic


def _regressions(args: argparse.Namespace) -> dict[str, Regression]:
    """Return what is asked about: name to how much worse."""
    from airflow_mlops.rollout.traffic import Regression

    made = {}
    for kind, what, given in (("error", "errors", args.worse_by), ("slow", "slow", args.slower_by)):
        for words in given:
            match = _INCREASE.fullmatch(words)
            if match is None or float(match[1]) == 0:
                option = "--worse-by" if kind == "error" else "--slower-by"
                raise SpecificationError(
                    option, words, "50% for half as many again, or 0.02 for two more in a hundred requests"
                )
            amount = float(match[1])
            change = {f"{kind}_times": 1 + amount / 100} if match[2] else {f"{kind}_more": amount}
            made[f"{what} +{words.removeprefix('+')}"] = replace(Regression(), **change)
    return made


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SpecificationError("output", str(path), f"a file that can be written; {error.strerror}") from error


def _table(found: Simulation) -> str:
    from airflow_mlops.rollout.simulation_html import describe_seconds

    rows: list[tuple[str, ...]] = [
        (
            "CANDIDATE",
            "PROMOTED",
            "BACK: HARM",
            "UNPROVEN",
            "UNKNOWN",
            "MEAN TIME",
            "9 IN 10",
            "MEAN REQUESTS",
            "9 IN 10",
        )
    ]
    for one in found.scenarios:
        shares = (f"{rate.value:.2%}" for rate in (one.promoted, one.harm, one.unproven, one.unknown))
        times = (describe_seconds(seconds) for seconds in (one.mean_seconds, one.p90_seconds))
        rows.append((one.name, *shares, *times, f"{one.mean_requests:,.0f}", f"{one.p90_requests:,.0f}"))
    return columns(rows)


def _sentence(found: Simulation) -> str:
    parts = [
        f"false rollbacks: {_of(found.false_rollback)}, {found.spec.alpha:.1%} is allowed",
        *(f"missed with {one.name}: {_of(one.promoted)}" for one in found.scenarios[1:]),
    ]
    return f"{'; '.join(parts)}; {found.runs:,} rollouts each, seed {found.seed}"


def _of(rate: Rate) -> str:
    return f"{rate.value:.2%} ({rate.low:.2%} to {rate.high:.2%})"
