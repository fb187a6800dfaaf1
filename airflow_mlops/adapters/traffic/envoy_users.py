"""What makes an Envoy log which user's requests were answered how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlops.rollout.routing import Sticky

__all__ = ["UserLog", "access_log", "user_filters"]

_TYPE = "type.googleapis.com/envoy."
_USER = "user"


@dataclass(frozen=True, kw_only=True)
class UserLog:
    """A log of which user's request was answered how, a JSON document in every line.

    :param path: absolute path of the log, in a folder that exists
    :param key: the header or cookie that names the user; requests without are not logged where it is a header
    """

    path: Path
    key: Sticky


def access_log(users: UserLog) -> dict[str, Any]:
    """Render the log of a connection manager."""
    header = users.key.header
    user = f"%REQ({header})%" if header is not None else f"%DYNAMIC_METADATA({_USER}:{_USER})%"
    line = {
        "time": "%START_TIME(%s.%3f)%",
        "target": "%UPSTREAM_CLUSTER%",
        "status": "%RESPONSE_CODE%",
        "user": user,
    }
    return {
        "name": "users",
        "filter": {"header_filter": {"header": {"name": header or "cookie", "present_match": True}}},
        "typed_config": {
            "@type": f"{_TYPE}extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(users.path),
            "log_format": {"json_format": line},
        },
    }


def user_filters(users: UserLog) -> list[dict[str, Any]]:
    """Take the user's cookie out of the others: an access log can name a header, not one of the cookies in it."""
    if users.key.cookie is None:
        return []
    rule = {
        "cookie": users.key.cookie,
        "on_header_present": {"metadata_namespace": _USER, "key": _USER, "type": "STRING"},
    }
    kind = f"{_TYPE}extensions.filters.http.header_to_metadata.v3.Config"
    return [{"name": "user", "typed_config": {"@type": kind, "request_rules": [rule]}}]
