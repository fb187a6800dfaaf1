from __future__ import annotations

import json
import multiprocessing
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.codec import encode
from airflow_mlops.evidence import Evidence, Origin, digest
from airflow_mlops.exceptions import ContractError, DigestMismatchError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, local_path, origin
from airflow_mlops.hooks.names import safe_name
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

ORIGIN = Origin(dag_id="d", run_id="manual__2013-03-01T00:00:00+00:00", task_id="t", try_number=1)


def _evidence(subject: str = "flights", **changes: object) -> Evidence:
    check = CheckResult(name="rows", verdict=Verdict.PASS, reason="10 rows", value=10.0, sample_size=10)
    values: dict[str, object] = {
        "decision": "gate",
        "subject": subject,
        "verdict": Verdict.PASS,
        "checks": (check,),
        "origin": ORIGIN,
        "decided_at": 1.5,
    }
    return Evidence(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/root")


@pytest.fixture
def remote() -> ArtifactStore:
    """A store on a file system that is not local: fsspec's own, in memory."""
    attach("memory", fs=MemoryFileSystem())
    return ArtifactStore(f"memory://bucket-{uuid.uuid4().hex}/root")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "code" / "net.py").write_text("x = 1\n")
    return folder


def test_a_missing_root_says_how_to_set_it(monkeypatch):
    monkeypatch.delenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", raising=False)
    with pytest.raises(SpecificationError) as caught:
        ArtifactStore.from_config()
    assert "[mlops] artifact_root" in str(caught.value)
    assert "AIRFLOW__MLOPS__ARTIFACT_ROOT" in str(caught.value)
    assert "for example s3://" in str(caught.value)


def test_a_relative_root_is_refused():
    with pytest.raises(SpecificationError, match=r"artifact_root: 'artifacts' is not accepted; expected a URI"):
        ArtifactStore("artifacts")


def test_the_root_comes_from_the_option(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", f"file://{tmp_path}")
    assert str(ArtifactStore.from_config().path("a", "b")) == f"file://{tmp_path}/a/b"


def test_a_connection_in_the_root_is_kept():
    store = ArtifactStore("s3://lake@bucket/mlops")
    assert store.path("a").conn_id == "lake"
    assert store.path("a").key == "mlops/a"


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_names_are_safe_and_differ(one: str, other: str):
    name = safe_name(one)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.=~")
    assert not name.startswith(".")
    assert len(name) <= 200
    assert (name == safe_name(other)) == (one == other)


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "/etc/passwd", "a/b", "manual__2013-03-01T00:00:00+00:00", "é" * 300]
)
def test_names_stay_below_their_folder(store, name):
    path = local_path(store.uri("reports", name, "x"))
    assert path.resolve().parent.parent == local_path(store.uri("reports")).resolve()
    store.write_json({}, "reports", name, "x")
    assert store.read_json("reports", name, "x") == {}


def test_an_empty_name_is_refused(store):
    with pytest.raises(SpecificationError, match="at least one character"):
        store.path("reports", "")


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_json_round_trips_by_uri_and_by_parts(request, kind):
    store = request.getfixturevalue(kind)
    value = _evidence()
    uri = store.write_json(value, "things", "a:b.json")
    assert store.read_json(uri) == store.read_json("things", "a:b.json") == encode(value)
    assert store.exists(uri)
    assert not store.exists("things", "other")


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_a_missing_or_broken_document_is_named(request, kind):
    store = request.getfixturevalue(kind)
    with pytest.raises(ContractError, match=r"root/none\.json: there is no file here"):
        store.read_json("none.json")
    uri = store.write_bytes(b"{", "broken.json")
    with pytest.raises(ContractError, match=r"root/broken\.json: this is not JSON"):
        store.read_json(uri)


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_publishing_copies_verifies_and_may_be_repeated(request, kind, model):
    store = request.getfixturevalue(kind)
    (model / "job.log").write_text("noise")
    uri, manifest = store.publish(model, "models", "flights", exclude=["job.log"])
    assert uri == store.uri("models", "flights")
    assert [entry.path for entry in manifest.files] == ["MLmodel", "code/net.py"]
    assert store.manifest(uri) == manifest
    assert store.publish(model, "models", "flights", exclude=["job.log"]) == (uri, manifest)


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_publishing_never_changes_what_is_there(request, kind, model):
    store = request.getfixturevalue(kind)
    store.publish(model, "models", "flights")
    (model / "MLmodel").write_text("other")
    with pytest.raises(ContractError, match="MLmodel: other content lies here already"):
        store.publish(model, "models", "flights")


def test_publishing_completes_what_was_interrupted(store, model):
    store.write_bytes((model / "MLmodel").read_bytes(), "models", "flights", "MLmodel")
    uri, manifest = store.publish(model, "models", "flights")
    assert store.manifest(uri) == manifest


def test_publishing_from_inside_the_root_copies_nothing(tmp_path, model):
    store = ArtifactStore(f"file://{tmp_path}")
    uri, manifest = store.publish(model, "models", "flights")
    assert uri == f"file://{model}"
    assert manifest == manifest_of(model)


def test_publishing_nothing_is_refused(store, tmp_path):
    with pytest.raises(ContractError, match="there is no directory here to publish"):
        store.publish(tmp_path / "none", "models", "flights")


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_localizing_verifies(request, kind, model, monkeypatch, tmp_path):
    store = request.getfixturevalue(kind)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri, manifest = store.publish(model, "models", "flights")
    ref = ModelRef(uri=uri, digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
    local = store.localize(ref)
    assert (local / "code" / "net.py").read_text() == "x = 1\n"
    assert store.localize(uri, manifest.digest) == local
    wrong = "sha256:" + "0" * 64
    with pytest.raises(DigestMismatchError, match="the content changed"):
        store.localize(uri, wrong)
    with pytest.raises(ContractError, match="there is no file or directory here"):
        store.localize(store.uri("models", "none"), wrong)
    with pytest.raises(SpecificationError, match="nothing is used unverified"):
        store.localize(uri)


def test_a_single_remote_file_is_localized(remote, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri = remote.write_bytes(b"a,b\n", "data", "flights.csv")
    local = remote.localize(uri, remote.manifest(uri).digest)
    assert local.name == "flights.csv"
    assert local.read_bytes() == b"a,b\n"


def test_a_damaged_cache_is_replaced(remote, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    uri, manifest = remote.publish(model, "models", "flights")
    local = remote.localize(uri, manifest.digest)
    (local / "MLmodel").write_text("tampered")
    assert (remote.localize(uri, manifest.digest) / "MLmodel").read_text() == "flavors: {}\n"


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_evidence_is_chained_per_subject(request, kind):
    store = request.getfixturevalue(kind)
    first_uri, first = store.write_evidence(_evidence())
    second_uri, second = store.write_evidence(_evidence(decision="promotion"))
    store.write_evidence(_evidence(subject="other"))
    assert urlsplit(first_uri).path.endswith(f"/evidence/flights/000001-{first.removeprefix('sha256:')[:12]}.json")
    assert "/000002-" in second_uri
    one, two = store.read_evidence("flights")
    assert (one.previous, two.previous) == (None, first)
    assert (digest(one), digest(two)) == (first, second)
    assert len(store.read_evidence("other")) == 1
    assert store.read_evidence("nobody") == ()


def _tampered(folder: Path) -> tuple[Path, Path, Path]:
    one, two, three = sorted(folder.glob("*.json"))
    return one, two, three


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda one, two, three: two.unlink(), "number 2 of the chain is missing"),
        (
            lambda one, two, three: two.write_text(two.read_text().replace('"pass"', '"fail"')),
            "the document was changed",
        ),
        (
            lambda one, two, three: one.rename(one.with_name("000004" + one.name[6:])),
            "number 1 of the chain is missing",
        ),
        (lambda one, two, three: two.write_text("{}"), "this is not an evidence document"),
    ],
)
def test_tampering_is_found(store, damage, message):
    for decision in ("gate", "registration", "promotion"):
        store.write_evidence(_evidence(decision=decision))
    damage(*_tampered(local_path(store.uri("evidence", "flights"))))
    with pytest.raises(ContractError, match=message):
        store.read_evidence("flights")


def test_a_document_exchanged_with_its_name_is_found(store):
    for decision in ("gate", "registration", "promotion"):
        store.write_evidence(_evidence(decision=decision))
    _, two, _ = _tampered(local_path(store.uri("evidence", "flights")))
    forged = json.loads(two.read_text()) | {"verdict": "fail"}
    forged_digest = digest(
        _evidence(**forged | {"verdict": Verdict.FAIL, "checks": _evidence().checks, "origin": ORIGIN})
    )
    two.unlink()
    two.with_name(f"000002-{forged_digest.removeprefix('sha256:')[:12]}.json").write_text(json.dumps(forged))
    with pytest.raises(ContractError, match="document 3 follows sha256:"):
        store.read_evidence("flights")


def _write_many(root: str, count: int) -> None:
    store = ArtifactStore(root)
    for _ in range(count):
        store.write_evidence(_evidence())


def test_processes_writing_together_never_fork_the_chain(store):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(store.root), 8)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(100)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(store.read_evidence("flights")) == 24


@pytest.mark.parametrize("kind", ["store", "remote"])
def test_threads_writing_together_never_fork_the_chain(request, kind, monkeypatch):
    store = request.getfixturevalue(kind)
    if kind == "remote":
        # Object stores decide a conditional write in one step; the file system in memory looks first, then writes.
        files, one_at_a_time = store.path("evidence").fs, threading.Lock()
        conditional = files.pipe_file

        def pipe_file(*args, **kwargs):
            with one_at_a_time:
                return conditional(*args, **kwargs)

        monkeypatch.setattr(files, "pipe_file", pipe_file)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.write_evidence(_evidence()), range(20)))
    assert len(store.read_evidence("flights")) == 20


def test_a_claim_whose_writer_died_is_completed(remote):
    remote.write_evidence(_evidence())
    (first,) = remote.read_evidence("flights")
    abandoned = _evidence(decision="rollout", previous=digest(first))
    remote.write_json(abandoned, "evidence", "flights", "000002.claim")
    remote.write_evidence(_evidence(decision="promotion"))
    assert [document.decision for document in remote.read_evidence("flights")] == ["gate", "rollout", "promotion"]


def _context(**changes: object) -> dict[str, object]:
    values = {"dag_id": "ct", "run_id": ORIGIN.run_id, "task_id": "validate", "try_number": 2, "map_index": -1}
    return {"ti": SimpleNamespace(**(values | changes)), "ts": datetime(2013, 3, 1)}  # noqa: DTZ001


def test_reports_lie_where_the_plugin_looks(store):
    uri = store.write_report(_context(map_index=3), "validation", "<p>é</p>")
    assert uri == str(store.root) + "/reports/ct/manual__2013-03-01T00~3a00~3a00~2b00~3a00/validate/3/validation.html"
    assert store.read_bytes(uri).decode() == "<p>é</p>"


def test_the_origin_is_the_running_task():
    assert origin(_context()) == Origin(dag_id="ct", run_id=ORIGIN.run_id, task_id="validate", try_number=2)
