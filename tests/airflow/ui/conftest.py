"""Airflow's own API server with the plugin, users of several rights, and evidence as tasks write it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.evidence import Evidence, Origin, digest, document_of
from airflow_mlops.governance.ledger_files import stored_bytes
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.verdict import CheckResult, Verdict

RUN = "manual__2013-03-01T00:00:00+00:00"
NOW = 1_362_100_000.0


@pytest.fixture(scope="session")
def app(airflow_db) -> Iterator[Any]:
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    yield create_app(apps="core")
    purge_cached_app()


@pytest.fixture
def client(app, artifact_root) -> Iterator[Any]:
    from fastapi.testclient import TestClient

    with contextlib.closing(TestClient(app, base_url="http://airflow", raise_server_exceptions=True)) as client:
        yield client


@pytest.fixture
def headers_of(app) -> Callable[[str | None], dict[str, str]]:
    """Headers with which a user of a role asks."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def make(role: str | None) -> dict[str, str]:
        token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username="somebody", role=role))
        return {"Authorization": f"Bearer {token}"}

    return make


@pytest.fixture
def headers(headers_of) -> dict[str, str]:
    return headers_of("ADMIN")


@pytest.fixture
def only_dag(app, monkeypatch) -> Callable[[str], None]:
    """Let everybody read one DAG only, as an auth manager with rights per DAG does."""

    def restrict(dag_id: str) -> None:
        def is_authorized_dag(*, method: str, user: Any, access_entity: Any = None, details: Any = None) -> bool:
            return details is not None and details.id == dag_id

        monkeypatch.setattr(app.state.auth_manager, "is_authorized_dag", is_authorized_dag)

    return restrict


def model_ref(letter: str) -> dict[str, Any]:
    return {"uri": f"file:///models/{letter}", "digest": "sha256:" + letter * 64, "format": "mlflow", "size_bytes": 1}


def dataset_ref(letter: str, partition: str = "2013-01") -> dict[str, Any]:
    uri = f"file:///data/{partition}"
    given = {"uri": uri, "digest": "sha256:" + letter * 64, "format": "parquet", "size_bytes": 1, "rows": 10}
    return given | {"partition": partition}


def decision(kind: str, subject: str = "flights", *, verdict: str = "pass", at: float = 0, **fields: Any) -> Evidence:
    """A decision of the task ``kind`` in the DAG ``ct``, ``at`` seconds after the run's begin."""
    who = {"dag_id": "ct", "run_id": RUN, "task_id": kind, "map_index": -1} | fields.pop("who", {})
    found = Verdict(verdict)
    check = CheckResult(name=f"{kind}.check", verdict=found, reason=f"the {kind} says {verdict}", value=0.5)
    return Evidence(
        decision=kind,
        subject=subject,
        verdict=found,
        checks=fields.pop("checks", (check,)),
        origin=Origin(try_number=1, **who),
        decided_at=NOW + at,
        **fields,
    )


def rollout(
    number: int, weight: int, *, version: str = "2", phase: str = "progressing", letter: str = "b", **fields: Any
) -> Evidence:
    names = f"flights-v{version}", "flights-v1"
    shares = {names[0]: weight, names[1]: 100 - weight}
    notes = {"rollout": f"cd/{RUN}/canary/-1/{NOW}", "decision_number": number, "phase": phase}
    notes |= {"candidate": names[0], "stable": names[1], "reason": f"{weight} % now"}
    notes |= {"weights": {name: share for name, share in shares.items() if share}}
    who = {"dag_id": "cd", "task_id": "canary"}
    references = {"candidate": model_ref(letter), "stable": model_ref("f")}
    return decision("rollout", who=who, notes=notes, references=references, checks=(), **fields)


def release(version: str = "2", letter: str = "b", *, at: float = 0) -> list[Evidence]:
    """Decisions about one candidate, from the gate to the alias."""
    model, cd = model_ref(letter), {"dag_id": "cd", "task_id": "promote"}
    data = {"train": [dataset_ref("d")], "holdout": dataset_ref("e", "2013-02")}
    return [
        decision("gate", at=at, references={"candidate": model, "dataset": dataset_ref("e", "2013-02")}),
        decision(
            "registration",
            at=at + 1,
            references={"model": model, "datasets": data},
            notes={"version": version, "alias": "challenger"},
        ),
        rollout(0, 10, version=version, letter=letter, at=at + 2, verdict="inconclusive"),
        rollout(1, 100, version=version, letter=letter, at=at + 3, phase="promoted"),
        decision("promotion", at=at + 4, who=cd, references={"model": model}, notes={"version": version}),
    ]


@pytest.fixture
def write(artifact_root) -> Callable[..., None]:
    """Append decisions to their chains."""

    def append(*documents: Evidence) -> None:
        store = ArtifactStore.from_config()
        for document in documents:
            store.write_evidence(document)

    return append


@pytest.fixture
def write_many(artifact_root) -> Callable[..., None]:
    """Lay a whole chain down at once, without the locks and the caution of a writer."""

    def lay(*documents: Evidence) -> None:
        folder = artifact_root / "evidence" / documents[0].subject
        folder.mkdir(parents=True)
        previous = None
        for number, document in enumerate(documents, start=1):
            linked = replace(document, number=number, previous=previous)
            previous = digest(linked)
            name = f"{number:06d}-{previous.removeprefix('sha256:')[:12]}.json"
            (folder / name).write_bytes(stored_bytes(document_of(linked)))

    return lay
