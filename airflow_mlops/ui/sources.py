"""Where pages read from: the artefact store, and one reader of its evidence for all requests of this process."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.exceptions import ContractError
from airflow_mlops.governance.decided import is_moment, slot_of
from airflow_mlops.hooks.names import original_name
from airflow_mlops.ui.reader import EvidenceReader

if TYPE_CHECKING:
    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.rollout.live import LiveRollout

__all__ = ["artifact_store", "evidence_reader", "live_rollout_of", "report_address", "report_name"]

log = logging.getLogger(__name__)


def artifact_store() -> ArtifactStore:
    """Return the store at the option ``[mlops] artifact_root``.

    :raises SpecificationError: if the option is not set
    """
    from airflow_mlops.hooks.artifacts import ArtifactStore

    return ArtifactStore.from_config()


def evidence_reader() -> EvidenceReader:
    """Return the reader of the evidence in that store.

    :raises SpecificationError: if the option is not set
    """
    return _reader(str(artifact_store().root))


@lru_cache(maxsize=2)
def _reader(root: str) -> EvidenceReader:
    from airflow_mlops.hooks.artifacts import ArtifactStore

    return EvidenceReader(ArtifactStore(root))


def live_rollout_of(who: Origin) -> LiveRollout | None:
    """Return where the rollout of a task stood last, None if it published nothing that can be read.

    :raises SpecificationError: if the store is not set
    """
    from airflow_mlops.hooks.live import read_live

    try:
        live = read_live(artifact_store(), who.dag_id, who.run_id, who.task_id, who.map_index)
    except ContractError as error:
        log.warning("A live page cannot be read: %s", error)
        return None
    return live if live is not None and _holds(live) else None


def _holds(live: LiveRollout) -> bool:
    """Whether its times and its step can be shown: whoever may write to the store may have written this."""
    times = (live.looked_at, live.started_at, live.step_since, live.unknown_since, *(one.at for one in live.history))
    shown = all(is_moment(time) for time in times if time is not None)
    return shown and 0 <= live.step_index < len(live.steps)


def report_name(evidence: Evidence) -> str:
    """Return the name of the page that the task wrote about a decision, empty if there is none."""
    said = evidence.notes.get("report_uri")
    if isinstance(said, str) and said.endswith(".html"):
        return original_name(said.rsplit("/", 1)[-1].removesuffix(".html"))
    kind = slot_of(evidence)
    return kind if kind in ("rollout", "shadow") else ""


def report_address(root: str, who: Origin, name: str) -> str:
    """Return the address of a report.

    :param root: address under which our pages are
    """
    parts = (who.dag_id, who.run_id, who.task_id, str(who.map_index), name)
    return f"{root}/reports/" + "/".join(quote(part, safe="") for part in parts)
