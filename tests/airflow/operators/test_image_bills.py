"""A bill that is there already: no engine is needed, wherever the artefacts lie."""

from __future__ import annotations

import hashlib
import json
import uuid

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.operators import WriteImageBillOperator

DIGEST = "sha256:" + "cd" * 32
CONTENT = json.dumps({"components": [{"name": "python"}, {"name": "debian"}]}).encode()


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path, monkeypatch):
    attach("memory", fs=MemoryFileSystem())
    root = f"file://{tmp_path}" if request.param == "file" else f"memory://bucket/{uuid.uuid4().hex}"
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", root)
    return ArtifactStore(root)


@pytest.fixture
def write():
    return WriteImageBillOperator(task_id="t", image=f"registry/trainer@{DIGEST}", docker_url="unix:///nowhere.sock")


@pytest.fixture
def kept(store):
    return store.write_bytes(CONTENT, "images", DIGEST, "bill", f"{hashlib.sha256(CONTENT).hexdigest()}.cdx.json")


def test_a_bill_that_is_there_is_returned(write, kept):
    returned = write.execute({})
    assert returned["written"] is False
    assert returned["bill"] == {
        "uri": kept,
        "digest": f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
        "format": "cyclonedx-1.6-json",
        "size_bytes": len(CONTENT),
        "components": 2,
    }


def test_a_bill_that_was_changed_is_refused(write, kept, store):
    store.write_bytes(CONTENT + b" ", "images", DIGEST, "bill", kept.rpartition("/")[2])
    with pytest.raises(AirflowFailException, match="the content is not what its name promises; the bill was changed"):
        write.execute({})
