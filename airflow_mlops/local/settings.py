"""What ``airflow mlops local up`` was told: ports, secrets and choices."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.routing import Sticky

__all__ = ["Ports", "Secrets", "Settings"]

_BASE_SPAN = 100
_FIRST_SERVER_OFFSET = 10


@dataclass(frozen=True, kw_only=True)
class Ports:
    """TCP ports on the loopback interface.

    :param airflow: Airflow's UI and API
    :param mlflow: MLflow's UI and API
    :param gateway: where clients ask for predictions
    :param gateway_admin: Envoy's statistics
    :param worker_log: logs of running tasks, served by the scheduler
    :param trigger_log: logs of running triggers, served by the triggerer
    :param server_first: first of the model servers' ports
    :param server_count: how many ports from ``server_first`` on belong to model servers
    """

    airflow: int = 8080
    mlflow: int = 5000
    gateway: int = 8100
    gateway_admin: int = 8101
    worker_log: int = 8793
    trigger_log: int = 8794
    server_first: int = 8200
    server_count: int = 100

    def __post_init__(self) -> None:
        """Refuse ports that do not exist and ports that two services would share."""
        seen: dict[int, str] = {}
        for name, port in self.named():
            if not 1 <= port <= 65535:
                raise SpecificationError(f"ports.{name}", port, "a port from 1 to 65535")
            if port in seen:
                raise SpecificationError(f"ports.{name}", port, f"a port that {seen[port]!r} does not have already")
            seen[port] = name
        if self.server_count < 1 or self.server_first + self.server_count > 65536:
            raise SpecificationError("ports.server_count", self.server_count, "1 or more ports below 65536")
        for port, name in seen.items():
            if port != self.server_first and port in self.server_range:
                raise SpecificationError(f"ports.{name}", port, f"a port outside the model servers' {self.server_text}")

    @classmethod
    def from_base(cls, base: int) -> Ports:
        """All ports in one block of 100: the services from ``base`` on, the model servers from ``base + 10`` on."""
        if not 1 <= base <= 65536 - _BASE_SPAN:
            raise SpecificationError("port-base", base, f"a port from 1 to {65536 - _BASE_SPAN}")
        return cls(
            airflow=base,
            mlflow=base + 1,
            gateway=base + 2,
            gateway_admin=base + 3,
            worker_log=base + 4,
            trigger_log=base + 5,
            server_first=base + _FIRST_SERVER_OFFSET,
            server_count=_BASE_SPAN - _FIRST_SERVER_OFFSET,
        )

    @property
    def server_range(self) -> range:
        """The model servers' ports."""
        return range(self.server_first, self.server_first + self.server_count)

    @property
    def server_text(self) -> str:
        """The model servers' ports for a person."""
        return f"{self.server_range[0]}-{self.server_range[-1]}"

    def named(self) -> Iterator[tuple[str, int]]:
        """Every single port with the name of its field."""
        for item in fields(self):
            if item.name != "server_count":
                yield item.name, getattr(self, item.name)


def _random_key() -> str:
    # 64 bytes: tokens are signed with SHA-512, which wants a key as long as its result.
    return secrets.token_urlsafe(64)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Keys that all Airflow components must share; made once per home.

    :param fernet_key: encrypts connections and variables in Airflow's database
    :param jwt_secret: signs the tokens with which tasks talk to the API server
    :param api_secret: signs sessions and requests for logs
    """

    fernet_key: str = field(default_factory=_fernet_key, repr=False)
    jwt_secret: str = field(default_factory=_random_key, repr=False)
    api_secret: str = field(default_factory=_random_key, repr=False)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What ``up`` was told, kept for ``status``, ``down`` and the supervisor.

    :param with_airflow: False leaves Airflow's components out
    :param dags_folder: where Airflow looks for DAGs; None means the home's own ``dags``
    :param model_python: interpreter of the model environment; None before one was chosen
    :param users: header or cookie that names the user, for the gateway's log of users; None keeps none
    :param settings_version: version of this document's form, currently 1
    """

    ports: Ports = field(default_factory=Ports)
    secrets: Secrets = field(default_factory=Secrets)
    with_airflow: bool = True
    dags_folder: str | None = None
    model_python: str | None = None
    users: Sticky | None = None
    settings_version: int = 1
