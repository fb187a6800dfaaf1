"""Model servers as processes of one machine, asked for and reported through files.

``desired/<name>.json`` holds a :class:`~airflow_mlops.rollout.serving.ServerSpec` for every server that should run;
the embedded stack's supervisor makes it so and writes a ServerStatus to ``status/<name>.json``. Files are replaced as a
whole, so either side may die at any point.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError
from airflow_mlops.files import atomic_write_json, file_lock, read_json
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

__all__ = ["ProcessFleet"]

T = TypeVar("T")


class ProcessFleet:
    """The model servers of one embedded stack; a ``ServerFleet``.

    :param serving_dir: the folder that holds ``desired`` and ``status``
    """

    def __init__(self, serving_dir: Path) -> None:
        self._root = serving_dir
        self._desired = serving_dir / "desired"
        self._status = serving_dir / "status"

    def ensure(self, spec: ServerSpec) -> None:
        """Ask for a server; the same spec again changes nothing.

        :raises PermanentAdapterError: if a server of this name is asked for already, with another spec, or if there
            is no serving folder and so no supervisor that would start one
        """
        self._require_root()
        with file_lock(self._root / "fleet.lock"):
            current = self.spec(spec.name)
            if current is None:
                atomic_write_json(self._desired / f"{spec.name}.json", encode(spec))
            elif current != spec:
                raise PermanentAdapterError(
                    f"server {spec.name!r} runs already with {_difference(current, spec)}; stop it first"
                )

    def spec(self, name: str) -> ServerSpec | None:
        """Return what was asked for under this name, None if nothing.

        :raises ContractError: if the file is damaged
        """
        return _read(ServerSpec, self._desired / f"{name}.json")

    def status(self, name: str) -> ServerStatus | None:
        """Tell how the server is, None when nobody knows it.

        :raises ContractError: if the file is damaged
        """
        return _read(ServerStatus, self._status / f"{name}.json")

    def remove(self, name: str) -> None:
        """Ask for the server to stop; one that nobody asked for is no error."""
        self._require_root()
        with file_lock(self._root / "fleet.lock"):
            (self._desired / f"{name}.json").unlink(missing_ok=True)

    def list(self) -> Iterable[str]:
        """Return the names of the servers that should run, sorted."""
        self._require_root()
        # A file that is being written starts with a dot.
        return sorted(path.stem for path in self._desired.glob("*.json") if not path.name.startswith("."))

    def _require_root(self) -> None:
        if not self._root.is_dir():
            raise PermanentAdapterError(
                f"{self._root}: there is no serving folder here, so no supervisor would start model servers; "
                "check serving_directory in the gateway connection"
            )


def _read(cls: type[T], path: Path) -> T | None:
    document = read_json(path)
    if document is None:
        return None
    try:
        return decode(cls, document)
    except SpecificationError as error:
        raise ContractError(f"{path}: {error}") from error


def _difference(current: ServerSpec, wanted: ServerSpec) -> str:
    before, after = encode(current), encode(wanted)
    return "; ".join(
        f"{name} {before[name]!r} instead of {after[name]!r}" for name in before if before[name] != after[name]
    )
