"""What a route may do besides splitting requests by weight: copy them, keep a caller at one target, send testers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_mlops.exceptions import SpecificationError

__all__ = ["Match", "Mirror", "Sticky"]

# A token of RFC 9110: what a header or a cookie may be called.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[!-~]([ -~]{0,254}[!-~])?")
_MAX_HEADERS = 8


@dataclass(frozen=True, kw_only=True)
class Match:
    """Requests that go to one target whatever the weights are: those that carry all of these headers.

    :param target: who gets them
    :param headers: name to exact value, 1 to 8 of them
    """

    target: str
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse none, too many, and what no header may be."""
        if not 1 <= len(self.headers) <= _MAX_HEADERS:
            raise SpecificationError("match.headers", dict(self.headers), f"1 to {_MAX_HEADERS} headers")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name):
                raise SpecificationError("match.headers", name, "letters, digits and hyphens, the name of a header")
            if not _VALUE.fullmatch(value):
                accepted = "1 to 256 printable ASCII characters that neither begin nor end with a blank"
                raise SpecificationError(f"match.headers.{name}", value, accepted)


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """Copies of a route's requests that go to a further target; its answers reach nobody.

    :param target: who gets the copies
    :param percent: share of the requests that is copied, 1 to 100
    """

    target: str
    percent: int = 100

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if not 1 <= self.percent <= 100:
            raise SpecificationError("mirror.percent", self.percent, "1 to 100 percent of the requests")


@dataclass(frozen=True, kw_only=True)
class Sticky:
    """What keeps a caller at one target while the weights stay: one of the two. Requests without it go by chance.

    :param header: name of the request header that holds the caller's key
    :param cookie: name of the cookie that holds it; nobody is given one
    """

    header: str | None = None
    cookie: str | None = None

    def __post_init__(self) -> None:
        """Refuse none, both, and names that no header and no cookie may have."""
        given = [name for name in (self.header, self.cookie) if name is not None]
        if len(given) != 1:
            raise SpecificationError("sticky", given, "either a header or a cookie")
        if not _TOKEN.fullmatch(given[0]):
            raise SpecificationError("sticky", given[0], "letters, digits and hyphens, the name of a header or cookie")
