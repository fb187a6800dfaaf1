"""The rule of an HTTPRoute that sends requests with certain headers to one target; made from the rule that is steered.

It takes the requests that the steered rule takes, if they carry the headers too: a match with more headers comes first,
by the Gateway API's order of precedence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import Json
from airflow_mlops.rollout.routing import Match

__all__ = ["is_matched_rule", "matched_rule"]


def matched_rule(rule: Json, match: Match, port: int) -> dict[str, Any]:
    """Return the rule beside the steered one.

    :param rule: the steered rule; its paths, filters and timeouts are taken over, its copies of requests are not
    :param port: the target's
    """
    headers = [{"type": "Exact", "name": name, "value": value} for name, value in sorted(match.headers.items())]
    filters = [one for one in rule.get("filters") or () if one.get("type") != "RequestMirror"]
    made = {key: value for key, value in rule.items() if key not in ("name", "filters")}
    made["matches"] = [{**one, "headers": [*one.get("headers", ()), *headers]} for one in rule.get("matches") or [{}]]
    made["backendRefs"] = [{"name": match.target, "port": port}]
    return {**made, "filters": filters} if filters else made


def is_matched_rule(rule: Json, match: Match) -> bool:
    """Whether this is the rule of a match, as far as requests can tell."""
    targets = [ref.get("name") for ref in rule.get("backendRefs") or ()]
    return targets == [match.target] and all(
        match.headers.items() <= _headers(one).items() for one in rule.get("matches") or [{}]
    )


def _headers(match: Mapping[str, Any]) -> dict[str, str]:
    return {header["name"]: header["value"] for header in match.get("headers") or ()}
