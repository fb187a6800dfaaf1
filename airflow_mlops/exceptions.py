"""The whole error tree.

.. code-block:: text

    MLOpsError
    ├── SpecificationError      the caller's input is wrong: field, value, what is accepted
    ├── ContractError           a document or artefact is not what its contract says
    │   └── DigestMismatchError the bytes are not the ones that were named
    ├── AdapterError            the world outside
    │   ├── TransientAdapterError   worth another try: unreachable, timed out, overloaded
    │   │   └── PeerLostError       another process of the same job has gone away
    │   └── PermanentAdapterError   another try gives the same answer: not found, refused
    └── ConflictError           somebody else holds what this process wanted to change
        ├── LeaseHeldError      a rollout of this route is under way, the holder is named
        └── StaleWriteError     the object changed since it was read, or the lease was lost

A negative judgement is a :class:`~airflow_mlops.verdict.Verdict`, never an error.
"""

from __future__ import annotations

from typing import Any


class MLOpsError(Exception):
    """Root of all errors that airflow-mlops raises on purpose."""


class SpecificationError(MLOpsError, ValueError):
    """The caller's input is wrong.

    :param field: dotted path of the field, for example ``steps[1].weight_percent``
    :param value: the value that was given
    :param accepted: what would have been accepted, in words
    """

    def __init__(self, field: str, value: Any, accepted: str) -> None:
        self.field = field
        self.value = value
        self.accepted = accepted
        shown = repr(value)
        if len(shown) > 200:
            shown = shown[:200] + "…"
        super().__init__(f"{field}: {shown} is not accepted; expected {accepted}")

    def __reduce__(self) -> tuple[type[SpecificationError], tuple[str, Any, str]]:
        return type(self), (self.field, self.value, self.accepted)


class ContractError(MLOpsError):
    """A document or an artefact is not what its contract says."""


class DigestMismatchError(ContractError):
    """The bytes found are not the ones that a reference names.

    :param subject: what was read, usually a URI
    :param expected: the digest that was promised
    :param actual: the digest of what is there
    """

    def __init__(self, subject: str, expected: str, actual: str) -> None:
        self.subject = subject
        self.expected = expected
        self.actual = actual
        super().__init__(f"{subject}: digest is {actual}, but {expected} was expected; the content changed")

    def __reduce__(self) -> tuple[type[DigestMismatchError], tuple[str, str, str]]:
        return type(self), (self.subject, self.expected, self.actual)


class AdapterError(MLOpsError):
    """Something outside did not do what was asked."""


class TransientAdapterError(AdapterError):
    """Worth another try: unreachable, timed out, overloaded."""


class PeerLostError(TransientAdapterError):
    """Another process of the same job has gone away; what became of it is the real reason."""


class PermanentAdapterError(AdapterError):
    """Another try would give the same answer: not found, refused, unsupported."""


class ConflictError(MLOpsError):
    """Somebody else holds, or has changed, what this process wanted to change."""


class LeaseHeldError(ConflictError):
    """A rollout of this route is under way.

    :param route: the route's name
    :param holder: who holds the lease
    """

    def __init__(self, route: str, holder: str) -> None:
        self.route = route
        self.holder = holder
        super().__init__(f"route {route!r}: a rollout held by {holder!r} is under way")

    def __reduce__(self) -> tuple[type[LeaseHeldError], tuple[str, str]]:
        return type(self), (self.route, self.holder)


class StaleWriteError(ConflictError):
    """The object changed since it was read, or the lease was lost; nothing was written."""
