"""Requests that go to one target by their headers, on a Kubernetes object that fences its writers."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from airflow_mlops.adapters.kubernetes_objects import Json, Operations
from airflow_mlops.adapters.traffic.fenced_object import FencedRouter
from airflow_mlops.exceptions import PermanentAdapterError, StaleWriteError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.routing import Match

__all__ = ["MatchingRouter"]


class MatchingRouter(FencedRouter):
    """A router that also sends requests by their headers; :class:`airflow_mlops.rollout.ports.MatchRouter`.

    Its :meth:`live` says whether the match of the record is still there, and its :meth:`operations` make it the one of
    ``after``.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "match"})

    def set_match(
        self, route: str, match: Match | None, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Send the requests that carry these headers to a target, with or without weight, or none; once or again.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when the target is not known
        """

        def decide(document: Json) -> Operations:
            before = self._writable(route, document, fencing_token, overwrite=expected_generation is None)
            if match is not None and match.target not in before.targets:
                raise PermanentAdapterError(f"route {route!r}: no such target {match.target}; nothing was changed")
            repeated = (before.match, before.token) == (match, fencing_token)
            if expected_generation not in (None, before.generation) and not repeated:
                raise StaleWriteError(
                    f"route {route!r}: generation is {before.generation}, not {expected_generation}; "
                    "nothing was written"
                )
            return self._patch(route, document, before, replace(before, match=match, token=fencing_token))

        return self._change(route, decide)
