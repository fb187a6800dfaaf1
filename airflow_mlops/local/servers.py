"""Model servers: ``serving/desired`` says which should run, ``serving/status`` how they are."""

from __future__ import annotations

import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.ports import can_bind
from airflow_mlops.local.probes import Probe
from airflow_mlops.local.services import Service, service
from airflow_mlops.local.settings import Settings
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

__all__ = ["SERVICE_PREFIX", "ServerFiles", "model_directory"]

SERVICE_PREFIX = "server-"


@dataclass
class ServerFiles:
    """The documents of one home's model servers.

    A server keeps its port for as long as its status document exists, over crashes and restarts of the whole stack,
    because routes that were written earlier name it.
    """

    home: LocalHome
    settings: Settings
    _written: dict[str, ServerStatus] = field(default_factory=dict)

    def load(self) -> None:
        """Read the status documents that an earlier supervisor left."""
        for path in sorted(self.home.servers_status.glob("*.json")):
            try:
                status = decode(ServerStatus, read_json(path))
            except (ContractError, SpecificationError):
                # Ours alone to write: what is damaged is written anew, and only the port's number is lost.
                path.unlink(missing_ok=True)
                continue
            self._written[status.name] = status

    def services(self) -> tuple[dict[str, Service], dict[str, str]]:
        """Return the services that are desired and, by name, what is wrong with the other documents."""
        services, problems = {}, {}
        for path in sorted(self.home.servers_desired.glob("*.json")):
            name = f"{SERVICE_PREFIX}{path.stem}"
            try:
                services[name] = self._service(name, self._spec(path))
            except FileNotFoundError:
                continue
            except (ContractError, SpecificationError, PermanentAdapterError) as error:
                problems[name] = str(error)
        return services, problems

    def write(self, status: ServerStatus) -> None:
        """Write a status document, if it says something new."""
        if self._written.get(status.name) != status:
            atomic_write_json(self._status_file(status.name), encode(status))
            self._written[status.name] = status

    def status(self, name: str) -> ServerStatus | None:
        """Return what was written last of a server."""
        return self._written.get(name)

    def names(self) -> list[str]:
        """Return the names of all servers with a status."""
        return sorted(self._written)

    def remove_unwanted(self, names: set[str]) -> None:
        """Remove the status of every server that is not among ``names``; its port is free again."""
        for name in self._written.keys() - names:
            self._status_file(name).unlink(missing_ok=True)
            del self._written[name]

    def _status_file(self, name: str) -> Path:
        return self.home.servers_status / f"{name}.json"

    def _spec(self, path: Path) -> ServerSpec:
        document = read_json(path)
        if document is None:
            raise FileNotFoundError(path)
        spec = decode(ServerSpec, document, where=str(path))
        if spec.name != path.stem:
            raise SpecificationError(f"{path}.name", spec.name, f"the name of its file, {path.stem!r}")
        return spec

    def _service(self, name: str, spec: ServerSpec) -> Service:
        python = self.settings.model_python
        if python is None:
            raise PermanentAdapterError("there is no model environment: run `airflow mlops local up` again")
        port = self._port(spec)
        command = (
            *(python, "-m", "airflow_mlops.container.server", "--name", spec.name, "--model-name", spec.model_name),
            *("--version", spec.version, "--model-dir", str(model_directory(spec.model.uri))),
            *("--digest", spec.model.digest, "--port", str(port), "--prediction-log", str(self.home.predictions)),
            *(("--loading", canonical_json(encode(spec.loading))) if spec.loading else ()),
            *(("--fault-error-rate", str(spec.fault_error_rate)) if spec.fault_error_rate else ()),
            *(("--fault-delay-ms", str(spec.fault_delay_ms)) if spec.fault_delay_ms else ()),
        )
        probe = Probe(kind="http", port=port, path=f"/v2/models/{urllib.parse.quote(spec.model_name)}/ready")
        return service(self.home, name, command, variables={}, cwd=self.home.serving, probe=probe, port=port)

    def _port(self, spec: ServerSpec) -> int:
        known = self._written.get(spec.name)
        before = known.port if known is not None else None
        if spec.port is not None:
            port = spec.port
        elif before is not None and before in self.settings.ports.server_range:
            port = before
        else:
            port = self._free_port()
        if known is None or known.port != port:
            self.write(ServerStatus(name=spec.name, phase="starting", port=port))
        return port

    def _free_port(self) -> int:
        taken = {status.port for status in self._written.values()}
        for port in self.settings.ports.server_range:
            if port not in taken and can_bind("127.0.0.1", port):
                return port
        raise PermanentAdapterError(
            f"no port is free for model servers among {self.settings.ports.server_text}; "
            "remove servers or choose others with --server-port-first"
        )


def model_directory(uri: str) -> Path:
    """Local directory that a model's URI names.

    :raises PermanentAdapterError: if it lies elsewhere than on this machine
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    if parts.scheme == "":
        return Path(uri)
    raise PermanentAdapterError(f"model {uri!r}: local model servers read local files (file://…) only")
