"""Envoy steered by files: one document per route is the truth, what Envoy reads is rendered from all of them.

Layout below the gateway's folder: ``routes/<route>.json`` (truth), ``envoy/cds.yaml`` and ``envoy/rds.yaml``
(rendered), ``envoy/bootstrap.yaml`` (what Envoy is started with), ``routes.lock`` (held while any of them changes).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from airflow_mlops.adapters.traffic import envoy_config
from airflow_mlops.adapters.traffic.envoy_users import UserLog
from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.files import atomic_write_json, atomic_write_text, file_lock, read_json
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.routing import Match, Mirror, Sticky

__all__ = ["EnvoyFilesRouter", "write_bootstrap"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_DRAIN_SECONDS = 0.5


def write_bootstrap(gateway_dir: Path, *, listen_port: int, admin_port: int, users: Sticky | None = None) -> Path:
    """Write what Envoy is started with, and render clusters and routes if that was not done yet.

    :param gateway_dir: the gateway's folder
    :param listen_port: where clients ask for predictions
    :param admin_port: Envoy's own interface
    :param users: header or cookie that names the user; Envoy then logs users in the folder's ``access``, for
        :class:`~airflow_mlops.adapters.metrics.access_log.AccessLogTallies`
    :return: the bootstrap file, for ``envoy --config-path``
    """
    router = EnvoyFilesRouter(gateway_dir)
    path = router.folder / "bootstrap.yaml"
    log = None
    if users is not None:
        log = UserLog(path=gateway_dir.resolve() / "access" / "users.jsonl", key=users)
        log.path.parent.mkdir(parents=True, exist_ok=True)
    text = envoy_config.bootstrap(router.folder, listen_port=listen_port, admin_port=admin_port, users=log)
    atomic_write_text(path, text)
    start = router.folder / "start.yaml"
    # Never anew under a running Envoy, which would take that for its start.
    if not start.is_file() or start.read_text(encoding="utf-8") != envoy_config.start():
        atomic_write_text(start, envoy_config.start())
    router.render_missing()
    return path


@dataclass(frozen=True, kw_only=True)
class _Route:
    """The document of one route.

    :param token: highest fencing token that ever wrote here
    :param digest: digest of all the other fields, without those that are not set
    """

    route: str
    generation: int = 0
    token: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    mirror: Mirror | None = None
    sticky: Sticky | None = None
    match: Match | None = None
    digest: str = ""

    def signed(self) -> _Route:
        # What is not set does not count, so that documents from before there were mirrors keep their digest.
        document = {key: value for key, value in encode(replace(self, digest="")).items() if value is not None}
        return replace(self, digest=digest_of(document))


class EnvoyFilesRouter:
    """Routes of an Envoy that watches a folder.

    Implements :class:`airflow_mlops.rollout.ports.Router`, ``MirrorRouter``, ``StickyRouter`` and ``MatchRouter``.

    :param gateway_dir: the gateway's folder
    :param timeout_seconds: after which Envoy answers a request with status 504
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "mirror", "match", "sticky", "verify"})

    def __init__(self, gateway_dir: Path, *, timeout_seconds: float = 10.0) -> None:
        self._root = gateway_dir.resolve()
        self._timeout_seconds = timeout_seconds

    @property
    def folder(self) -> Path:
        """Where the files lie that Envoy watches."""
        return self._root / "envoy"

    def render_missing(self) -> None:
        """Write the files that Envoy watches where they do not exist."""
        with self._lock():
            for path, text in self._rendered().items():
                if not path.exists():
                    atomic_write_text(path, text)

    def observe(self, route: str) -> RouteView:
        """Tell how the route is, and whether another hand changed it or what Envoy reads.

        :raises ContractError: when the route's document cannot be read
        """
        with self._lock():
            return self._view(self._load(route))

    def ensure_targets(self, route: str, targets: Mapping[str, int], *, fencing_token: int) -> RouteView:
        """Make targets known, name to TCP port, without giving them traffic; others stay.

        :raises StaleWriteError: when a newer token wrote here
        """
        for name, port in targets.items():
            _check_name("targets", name)
            if not 0 < port < 65536:
                raise SpecificationError(f"targets.{name}", port, "a TCP port, 1 to 65535")
        with self._lock():
            before = self._writable(route, fencing_token)
            merged = {**before.targets, **targets}
            return self._write(before, replace(before, targets=merged, token=fencing_token))

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights; the same weights again change nothing.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when a target is not known
        :raises SpecificationError: when the weights do not sum to 100
        """
        if any(weight < 0 for weight in weights.values()) or sum(weights.values()) != 100:
            raise SpecificationError("weights", dict(weights), "percentages of 0 or more that sum to 100")
        wanted = {name: weight for name, weight in weights.items() if weight > 0}
        with self._lock():
            before = self._writable(route, fencing_token, overwrite=expected_generation is None)
            unknown = sorted(set(wanted) - set(before.targets))
            if unknown:
                raise PermanentAdapterError(f"route {route!r}: no such target {', '.join(unknown)}; none was changed")
            # A mirror and a match belong to the weights beside which they were set.
            after = replace(before, weights=wanted, mirror=None, match=None, token=fencing_token)
            return self._replace(before, after, expected_generation)

    def set_mirror(
        self, route: str, target: str | None, percent: int, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Copy this share of the requests to a target that has no weight, or to none; once or again.

        :param percent: 1 to 100; not looked at when ``target`` is None
        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when the target is not known, or has weight
        """
        mirror = None if target is None else Mirror(target=target, percent=percent)
        with self._lock():
            before = self._writable(route, fencing_token, overwrite=expected_generation is None)
            if target is not None and target not in before.targets:
                raise PermanentAdapterError(f"route {route!r}: no such target {target}; nothing was changed")
            if target is not None and before.weights.get(target):
                raise PermanentAdapterError(
                    f"route {route!r}: {target!r} gets {before.weights[target]} % of the requests and no copies of them"
                )
            after = replace(before, mirror=mirror, token=fencing_token)
            return self._replace(before, after, expected_generation)

    def set_sticky(
        self, route: str, sticky: Sticky | None, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Keep callers at one target by a key of theirs, or no longer; once or again.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        """
        with self._lock():
            before = self._writable(route, fencing_token, overwrite=expected_generation is None)
            return self._replace(before, replace(before, sticky=sticky, token=fencing_token), expected_generation)

    def set_match(
        self, route: str, match: Match | None, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Send the requests that carry these headers to a target, with or without weight, or none; once or again.

        Envoy counts them apart, so a rollout's judgement never sees them; the prediction log has them.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when the target is not known
        """
        with self._lock():
            before = self._writable(route, fencing_token, overwrite=expected_generation is None)
            if match is not None and match.target not in before.targets:
                raise PermanentAdapterError(f"route {route!r}: no such target {match.target}; nothing was changed")
            return self._replace(before, replace(before, match=match, token=fencing_token), expected_generation)

    def verify(self, route: str) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether the files that Envoy watches say what the route says."""
        return "ok" if self.observe(route).applied else "pending"

    def remove_target(self, route: str, name: str) -> RouteView:
        """Forget a target; requests that it is answering are finished.

        :raises PermanentAdapterError: when it still has weight
        """
        with self._lock():
            before = self._load(route)
            if before.weights.get(name):
                raise PermanentAdapterError(
                    f"route {route!r}: {name!r} still gets {before.weights[name]} % of the requests"
                )
            if before.mirror is not None and before.mirror.target == name:
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets copies of the requests")
            if before.match is not None and before.match.target == name:
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets the requests with certain headers")
            # Envoy may only now be reading that the target lost its weight.
            time.sleep(_DRAIN_SECONDS)
            targets = {key: port for key, port in before.targets.items() if key != name}
            return self._write(before, replace(before, targets=targets), removing=True)

    def _lock(self) -> AbstractContextManager[None]:
        return file_lock(self._root / "routes.lock")

    def _path(self, route: str) -> Path:
        _check_name("route", route)
        return self._root / "routes" / f"{route}.json"

    def _load(self, route: str) -> _Route:
        path = self._path(route)
        document = read_json(path)
        if document is None:
            return _Route(route=route).signed()
        try:
            return decode(_Route, document, where=path.name)
        except SpecificationError as error:
            raise ContractError(f"{path} is not a route document: {error}") from error

    def _all(self) -> list[_Route]:
        return [self._load(path.stem) for path in sorted((self._root / "routes").glob("*.json")) if path.stem[0] != "."]

    def _rendered(self) -> dict[Path, str]:
        """Return what Envoy should read, clusters first."""
        known = self._all()
        return {
            self.folder / "cds.yaml": envoy_config.clusters(known),
            self.folder / "rds.yaml": envoy_config.routes(known, timeout_seconds=self._timeout_seconds),
        }

    def _foreign_edits(self, route: _Route) -> tuple[str, ...]:
        edits = []
        if route.digest != route.signed().digest:
            edits.append(f"{self._path(route.route)} was edited")
        for name in ("cds.yaml", "rds.yaml"):
            path = self.folder / name
            if path.exists() and envoy_config.is_foreign(path.read_text(encoding="utf-8")):
                edits.append(f"{path} was edited")
        return tuple(edits)

    def _view(self, route: _Route) -> RouteView:
        applied = all(
            path.exists() and path.read_text(encoding="utf-8") == text for path, text in self._rendered().items()
        )
        return RouteView(
            route=route.route,
            generation=route.generation,
            weights=dict(route.weights),
            targets=dict(route.targets),
            foreign_edits=self._foreign_edits(route),
            applied=applied,
            mirror=route.mirror,
            sticky=route.sticky,
            match=route.match,
        )

    def _writable(self, route: str, token: int, *, overwrite: bool = False) -> _Route:
        before = self._load(route)
        if token < before.token:
            raise StaleWriteError(
                f"route {route!r}: token {token} is older than {before.token}, the lease has passed on; "
                "nothing was written"
            )
        edits = () if overwrite else self._foreign_edits(before)
        if edits:
            raise StaleWriteError(f"route {route!r}: somebody else changed it: {'; '.join(edits)}; nothing was written")
        return before

    def _replace(self, before: _Route, after: _Route, expected_generation: int | None) -> RouteView:
        """Write if the route is as the caller saw it; a repetition of the write that came through is no conflict."""
        if expected_generation in (None, before.generation) or after == before:
            ends = before.match is not None and after.match != before.match
            if ends and after.match is not None:
                self._write(before, replace(before, match=None), removing=True)
                before, ends = self._load(before.route), False
            return self._write(before, after, removing=ends)
        raise StaleWriteError(
            f"route {before.route!r}: generation is {before.generation}, not {expected_generation}; nothing was written"
        )

    def _write(self, before: _Route, after: _Route, *, removing: bool = False) -> RouteView:
        """Store the route if it changed, then render; a write that died in between is finished by the next one."""
        changed = replace(after, token=0, digest="") != replace(before, token=0, digest="")
        after = replace(after, generation=before.generation + 1 if changed else before.generation).signed()
        if after != before or not self._path(after.route).exists():
            atomic_write_json(self._path(after.route), encode(after))
        files = list(self._rendered().items())
        # A cluster comes before the route that uses it, and goes after.
        for path, text in reversed(files) if removing else files:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                atomic_write_text(path, text)
        return self._view(after)


def _check_name(field_name: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise SpecificationError(field_name, name, "1 to 128 letters, digits, dots, hyphens and underscores")
