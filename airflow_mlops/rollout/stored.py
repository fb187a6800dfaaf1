"""A rollout's state as text, and back, without working out again what did not change.

A waiting rollout is looked at every few seconds, and each look reads the text that the look before it wrote: it need
not be decoded. And of the state a look changes counts and judgements: spec and history, most of the text, stay.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.rollout.state import RolloutState

__all__ = ["StateTexts"]

_MOST = 4096
_NAMES = tuple(sorted(field.name for field in fields(RolloutState)))


@dataclass(frozen=True)
class _Kept:
    text: str
    state: RolloutState
    #: Canonical JSON by field.
    parts: dict[str, str]


class StateTexts:
    """What was read or written last, by name; safe to use from several threads.

    :param most: how many are kept; those that were used longest ago are forgotten
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = Lock()

    def write(self, name: str, state: RolloutState) -> str:
        """Return the canonical JSON of a state.

        :param name: what the state is of: the same name for the same rollout saves work
        """
        before = self._last(name)
        if before is not None and before.parts and before.state is state:
            return before.text
        parts = {field: _part(field, state, before) for field in _NAMES}
        text = "{" + ",".join(f'"{field}":{part}' for field, part in parts.items()) + "}"
        self._keep(name, _Kept(text, state, parts))
        return text

    def read(self, name: str, text: str, *, where: str) -> RolloutState:
        """Return the state that a text holds.

        :param where: what is being read, for messages
        :raises ValueError: if the text is not JSON
        :raises SpecificationError: if it is no state
        """
        before = self._last(name)
        if before is not None and before.text == text:
            return before.state
        state = decode(RolloutState, json.loads(text), where=where)
        self._keep(name, _Kept(text, state, {}))
        return state

    def _last(self, name: str) -> _Kept | None:
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
            return found

    def _keep(self, name: str, kept: _Kept) -> None:
        with self._lock:
            self._kept[name] = kept
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)


def _part(field: str, state: RolloutState, before: _Kept | None) -> str:
    value: Any = getattr(state, field)
    if before is not None and field in before.parts and getattr(before.state, field) is value:
        return before.parts[field]
    return canonical_json(encode(value))
