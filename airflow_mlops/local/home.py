"""The embedded stack's folder: the one place that knows its layout."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.files import read_json
from airflow_mlops.local.settings import Ports, Secrets, Settings

__all__ = ["LocalHome", "Ports", "Secrets", "Settings"]


@dataclass(frozen=True)
class LocalHome:
    """Where everything of one embedded stack lies.

    :param root: the folder; all data of the stack live below it
    """

    root: Path

    def __post_init__(self) -> None:
        """Make the root absolute: child processes have other working directories."""
        object.__setattr__(self, "root", Path(self.root).expanduser().resolve())

    @property
    def settings_file(self) -> Path:
        """Ports, secrets and choices; readable by its owner only."""
        return self.root / "settings.json"

    @property
    def airflow(self) -> Path:
        """``AIRFLOW_HOME``: database, task logs, configuration."""
        return self.root / "airflow"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and its proxied artifacts."""
        return self.root / "mlflow"

    @property
    def artifacts(self) -> Path:
        """What ``[mlops] artifact_root`` names: models, reports, evidence."""
        return self.root / "artifacts"

    @property
    def gateway(self) -> Path:
        """Routes, rollouts and the Envoy files rendered from them."""
        return self.root / "gateway"

    @property
    def serving(self) -> Path:
        """``desired`` and ``status`` of the model servers."""
        return self.root / "serving"

    @property
    def servers_desired(self) -> Path:
        """One ServerSpec per model server that should run."""
        return self.serving / "desired"

    @property
    def servers_status(self) -> Path:
        """One ServerStatus per model server, written by the supervisor."""
        return self.serving / "status"

    @property
    def predictions(self) -> Path:
        """The prediction log: ``<model>/<version>/*.jsonl``."""
        return self.root / "predictions"

    @property
    def labels(self) -> Path:
        """Labels as they arrive: ``<model>/labels.jsonl``."""
        return self.root / "labels"

    @property
    def traffic(self) -> Path:
        """Prepared requests, the trace of what was answered, and ``desired.json``."""
        return self.root / "traffic"

    @property
    def traffic_desired(self) -> Path:
        """What the traffic generator should do; without this file it does not run."""
        return self.traffic / "desired.json"

    @property
    def data(self) -> Path:
        """Source data, partitioned."""
        return self.root / "data"

    @property
    def dags(self) -> Path:
        """DAGs, where no other folder was named."""
        return self.root / "dags"

    @property
    def envs(self) -> Path:
        """Model environments, named by the digest of their requirements."""
        return self.root / "envs"

    @property
    def logs(self) -> Path:
        """One log per service; Airflow's task logs lie below :attr:`airflow`."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Lock, state and process records of the supervisor."""
        return self.root / "run"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.run / "supervisor.lock"

    @property
    def state_file(self) -> Path:
        """What the supervisor last saw of every service."""
        return self.run / "state.json"

    @property
    def supervisor_file(self) -> Path:
        """Which process the supervisor is."""
        return self.run / "supervisor.json"

    @property
    def processes(self) -> Path:
        """One record per child process, for a supervisor that comes after a killed one."""
        return self.run / "processes"

    def create(self) -> None:
        """Make all folders; existing ones stay as they are."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (
            *(self.airflow, self.mlflow, self.artifacts, self.gateway, self.servers_desired, self.servers_status),
            *(self.predictions, self.labels, self.traffic, self.data, self.dags, self.logs, self.processes),
        ):
            folder.mkdir(parents=True, exist_ok=True)
        # Keys and task logs are nobody else's business.
        self.root.chmod(0o700)

    def settings(self) -> Settings | None:
        """Return the settings of this home, or None where no stack was ever brought up.

        :raises ContractError: if the file is damaged
        """
        document = read_json(self.settings_file)
        if document is None:
            return None
        try:
            return decode(Settings, document)
        except SpecificationError as error:
            raise ContractError(f"{self.settings_file}: {error}") from error

    def save(self, settings: Settings) -> None:
        """Write the settings so that only their owner can read them."""
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.settings_file.with_name(f".{self.settings_file.name}.{os.getpid()}")
        # The keys must not be readable by others at any moment, not even in the temporary file.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(encode(settings), stream, indent=2, sort_keys=True)
            stream.write("\n")
        temporary.replace(self.settings_file)

    def configure(self, **changes: object) -> Settings:
        """Create the home if needed, change some settings and return all of them; secrets are made once."""
        self.create()
        settings = replace(self.settings() or Settings(), **changes)  # type: ignore[arg-type]
        self.save(settings)
        return settings
