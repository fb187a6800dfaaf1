"""What a shadow's task and its trigger share: where the logs lie, and where its state is kept between tries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, local_path

if TYPE_CHECKING:
    from airflow_mlops.rollout.pairing import AnswerLog
    from airflow_mlops.rollout.ports import ServerFleet
    from airflow_mlops.rollout.shadow import ShadowState

__all__ = ["ShadowLogs", "folder_of", "load_shadow", "save_shadow", "version_of"]


@dataclass(frozen=True, kw_only=True)
class ShadowLogs:
    """Where both models log.

    :param predictions: folder of all prediction logs
    :param labels: folder of all labels, None where there are none
    :param candidate_version: version of the candidate
    :param stable_version: version of the stable model
    """

    predictions: str
    labels: str | None
    candidate_version: str
    stable_version: str

    def open(self, model_name: str, *, since: float) -> AnswerLog:
        """Return the logs from a moment on, seconds since the epoch."""
        from airflow_mlops.adapters.predictions.tail import AnswerFiles

        return AnswerFiles(
            Path(self.predictions),
            model_name,
            {"candidate": self.candidate_version, "stable": self.stable_version},
            since=since,
            labels=None if self.labels is None else Path(self.labels),
        )


def folder_of(uri: str, field: str) -> Path:
    """Return the folder that a URI names.

    :raises SpecificationError: if it is not on this machine
    """
    path = local_path(uri) if isinstance(uri, str) else None
    if path is None:
        raise SpecificationError(field, uri, "an absolute path or a file:// URI of a folder")
    return path


def save_shadow(store: ArtifactStore, holder: str, state: ShadowState) -> None:
    """Keep the state for the next try of the task."""
    store.write_json(encode(state), "shadows", state.model_name, holder)


def load_shadow(store: ArtifactStore, holder: str, model_name: str, *, token: int) -> ShadowState | None:
    """Return the state that a try before this one has left under the same lease, None if there is none."""
    from airflow_mlops.rollout.shadow import ShadowState

    parts = ("shadows", model_name, holder)
    if not store.exists(*parts):
        return None
    state = decode(ShadowState, store.read_json(*parts), where="/".join(parts))
    return state if state.token == token else None


def version_of(fleet: ServerFleet, model_name: str, server: str) -> str:
    """Return which version a server serves: its folder in the prediction log.

    :raises SpecificationError: if it is no server of this model
    """
    from airflow_mlops.rollout.serving import server_name

    spec, prefix = fleet.spec(server), server_name(model_name, "")
    if spec is not None:
        return spec.version
    if server.startswith(prefix):
        return server.removeprefix(prefix)
    raise SpecificationError("stable", server, f"a model server of {model_name!r}, such as '{prefix}3'")
