"""What a rollout needs of model servers: which should run, and how they are.

Both documents are files in the embedded stack (``desired`` and ``status``); in a cluster a Deployment holds both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.loading import Loading
from airflow_mlops.references import ModelRef

__all__ = ["ServerPhase", "ServerSpec", "ServerStatus", "server_name"]

ServerPhase = Literal["starting", "ready", "crashed", "stopped"]
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def server_name(model_name: str, version: str) -> str:
    """Name of the server of one model version, also of its traffic target: ``flights-v3``."""
    return f"{model_name}-v{version}"


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """One model server that should run.

    :param name: see :func:`server_name`; lower-case letters, digits and hyphens, at most 63 characters
    :param model_name: the registered model, the same for all versions
    :param version: the registered version
    :param model: the files to serve
    :param loading: how they may be loaded, with the signatures to check; None for the policy's defaults
    :param port: TCP port, on the loopback interface or of the Service; None lets the supervisor or the fleet choose
    :param fault_error_rate: share of requests, 0 to 1, answered with status 500: for fire drills only
    :param fault_delay_ms: milliseconds added to every answer: for fire drills only
    """

    name: str
    model_name: str
    version: str
    model: ModelRef
    loading: Loading | None = None
    port: int | None = None
    fault_error_rate: float = 0.0
    fault_delay_ms: int = 0

    def __post_init__(self) -> None:
        """Refuse names that no router accepts and faults that make no sense."""
        if not _NAME.fullmatch(self.name):
            raise SpecificationError(
                "ServerSpec.name", self.name, "1 to 63 lower-case letters, digits and hyphens, not at the ends"
            )
        if not 0.0 <= self.fault_error_rate <= 1.0:
            raise SpecificationError("ServerSpec.fault_error_rate", self.fault_error_rate, "a number from 0 to 1")
        if self.fault_delay_ms < 0:
            raise SpecificationError("ServerSpec.fault_delay_ms", self.fault_delay_ms, "0 or more milliseconds")


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """How one model server is.

    :param phase: ``ready`` only after the server itself said that the model is loaded
    :param port: TCP port that it listens on, None before one was chosen
    :param host: where it listens: this machine, or the name or address of its Service
    :param pid: its process, None when none runs
    :param restarts: how often it was started again after a crash
    :param since: when the phase began, seconds since the epoch
    :param message: what a person should know, for example the last lines of the log after a crash
    """

    name: str
    phase: ServerPhase
    port: int | None = None
    host: str = "127.0.0.1"
    pid: int | None = None
    restarts: int = 0
    since: float = 0.0
    message: str = ""
