"""What a supervisor reports: one document that is replaced whenever something changed."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.plan import Phase

__all__ = ["ServiceState", "StackState", "read_state", "write_state"]


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """One service as the supervisor saw it last.

    :param since: when the phase began, seconds since the epoch
    :param log: path of its log
    :param message: what a person should know, for example how its last process ended
    """

    name: str
    phase: Phase
    pid: int | None
    port: int | None
    restarts: int
    since: float
    log: str
    message: str = ""

    @property
    def is_healthy(self) -> bool:
        """Whether nothing needs to be done about it."""
        return self.phase in ("ready", "done")


@dataclass(frozen=True, kw_only=True)
class StackState:
    """All services.

    :param supervisor_pid: the supervisor that wrote this
    """

    supervisor_pid: int
    services: tuple[ServiceState, ...]
    state_version: int = 1

    @property
    def is_healthy(self) -> bool:
        """Whether there are services and all are healthy."""
        return bool(self.services) and all(item.is_healthy for item in self.services)


def write_state(home: LocalHome, state: StackState) -> None:
    """Replace the document."""
    atomic_write_json(home.state_file, encode(state))


def read_state(home: LocalHome) -> StackState | None:
    """Return what was written last, None if nothing.

    :raises ContractError: if the document is damaged
    """
    document = read_json(home.state_file)
    if document is None:
        return None
    try:
        return decode(StackState, document)
    except SpecificationError as error:
        raise ContractError(f"{home.state_file}: {error}") from error
