"""The record of decisions: written by many at once and by the killed, audited by the commands."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import encode
from airflow_mlops.evidence import document_of
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.ledger import verify
from airflow_mlops.governance.ledger_files import CLAIM, HEAD, LOCK, stored_bytes
from airflow_mlops.hooks import evidence as record
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.evidence_trees import chain_folders, open_tree
from tests.evidence_chains import chain_of, decision

KINDS = ["local", "remote"]


def _store(kind: str, tmp_path: Path) -> ArtifactStore:
    if kind == "local":
        return ArtifactStore(f"file://{tmp_path}/root")
    attach("memory", fs=MemoryFileSystem())
    return ArtifactStore(f"memory://bucket-{uuid.uuid4().hex}/root")


def _files(store: ArtifactStore) -> dict[str, bytes]:
    (chain,) = chain_folders(open_tree(str(store.root)))
    return dict(chain.files)


def _put(store: ArtifactStore, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        folder = store.path("evidence", "flights")
        folder.fs.makedirs(folder.path, exist_ok=True)
        folder.fs.pipe_file((folder / name).path, content)


def _remove(store: ArtifactStore, name: str) -> None:
    where = store.path("evidence", "flights") / name
    where.fs.rm(where.path)


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A key that signs; returns the paths of public keys: its own, and another's."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = serialization.Encoding.PEM
    made = {"own": Ed25519PrivateKey.generate(), "other": generate_private_key(SECP256R1())}
    for name, one in made.items():
        content = one.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(content)
        public = one.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub.pem").write_bytes(public)
    monkeypatch.setenv("AIRFLOW__MLOPS__EVIDENCE_KEY", str(tmp_path / "own.pem"))
    return tmp_path / "own.pub.pem", tmp_path / "other.pub.pem"


def _signer(path: Path):
    from airflow_mlops.container.model_signature import signer_of

    return lambda one: signer_of(one, [path.read_text()], purpose="evidence")


@pytest.fixture
def command(capsys):
    """Run ``airflow mlops audit …``; returns exit status, output and errors."""
    from airflow.cli.cli_parser import get_parser

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        parsed = get_parser().parse_args(["mlops", "audit", *map(str, args)])
        code = 0
        try:
            parsed.func(parsed)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


# Writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_verifies_byte_by_byte(kind, tmp_path, key):
    store = _store(kind, tmp_path)
    written = [store.write_evidence(decision(number, decided_at=number)) for number in range(1, 4)]
    files = _files(store)
    audit = verify(files, subject="flights", signer=_signer(key[0]), anchors=[written[0][1]])
    assert (audit.documents, audit.newest, audit.findings) == (3, written[-1][1], ())
    assert len(audit.keys) == len(audit.anchored) == 1
    assert verify(files, signer=_signer(key[1])).findings[0].kind == "signature"
    assert [one.number for one in store.read_evidence("flights")] == [1, 2, 3]
    # Whole numbers in fields for fractions are written as they are read.
    documents = store.read_evidence("flights")
    assert [stored_bytes(document_of(one)) for one in documents] == [
        files[name] for name in sorted(files) if name.endswith(".json")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_to_what_was_really_written_is_found(kind, tmp_path, key):
    store, signer = _store(kind, tmp_path), _signer(key[0])
    for number in range(3):
        store.write_evidence(decision(number))
    written = _files(store)
    names = st.sampled_from(sorted(set(written) - {LOCK}))

    @settings(max_examples=100)
    @given(data=st.data(), name=names, damage=st.sampled_from(["flip", "cut", "remove", "swap", "add"]))
    def damaged(data, name, damage):
        files, content = dict(written), bytearray(written[name])
        position = data.draw(st.integers(0, len(content) - 1))
        if damage == "flip":
            content[position] ^= data.draw(st.integers(1, 255))
            files[name] = bytes(content)
        elif damage == "cut":
            files[name] = bytes(content[:position])
        elif damage == "remove":
            del files[HEAD if CLAIM.fullmatch(name) else name]
        elif damage == "swap":
            other = data.draw(names.filter(lambda one: one != name))
            files[name], files[other] = files[other], files[name]
        else:
            made = ["000004-0123456789ab.json", "000001-0123456789ab.json", "x", "000001-0123456789ab.sig"]
            files[data.draw(st.sampled_from(made))] = files[name]
        assert verify(files, subject="flights", signer=signer).findings

    damaged()


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_chain_goes_on_with_numbers_and_a_head(kind, tmp_path):
    store = _store(kind, tmp_path)
    _put(store, chain_of(3, numbered_from=99))
    assert "of an earlier version" in verify(_files(store)).notes[0]
    store.write_evidence(decision(4))
    audit = verify(_files(store), subject="flights")
    assert (audit.documents, audit.findings) == (4, ())
    assert [one.number for one in store.read_evidence("flights")] == [None, None, None, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_signing_may_begin_later_and_is_demanded_from_then_on(kind, tmp_path, key, monkeypatch):
    store = _store(kind, tmp_path)
    monkeypatch.delenv("AIRFLOW__MLOPS__EVIDENCE_KEY")
    store.write_evidence(decision(1))
    monkeypatch.setenv("AIRFLOW__MLOPS__EVIDENCE_KEY", str(tmp_path / "own.pem"))
    store.write_evidence(decision(2))
    audit = verify(_files(store), signer=_signer(key[0]))
    assert audit.findings == ()
    assert any("document 1: written before signing began" in note for note in audit.notes)
    monkeypatch.delenv("AIRFLOW__MLOPS__EVIDENCE_KEY")
    store.write_evidence(decision(3))
    (finding,) = verify(_files(store), signer=_signer(key[0])).findings
    assert (finding.kind, finding.number, finding.message) == ("signature", 3, "document 3 is not signed")


def test_a_signature_is_of_a_curve_too_and_for_evidence_only(tmp_path, key, monkeypatch):
    from airflow_mlops.container.model_signature import sign_digest

    store = _store("local", tmp_path)
    monkeypatch.setenv("AIRFLOW__MLOPS__EVIDENCE_KEY", str(tmp_path / "other.pem"))
    _, digest = store.write_evidence(decision(1))
    files, signer = _files(store), _signer(key[1])
    assert verify(files, signer=signer).findings == ()
    (name,) = (name for name in files if name.endswith(".sig"))
    files[name] = stored_bytes(encode(sign_digest(digest, (tmp_path / "other.pem").read_bytes())))
    assert [one.kind for one in verify(files, signer=signer).findings] == ["signature"]


def test_a_key_that_cannot_be_used_stops_the_decision(tmp_path, monkeypatch):
    store = _store("local", tmp_path)
    monkeypatch.setenv("AIRFLOW__MLOPS__EVIDENCE_KEY", str(tmp_path / "none.pem"))
    with pytest.raises(SpecificationError, match=r"evidence_key: .* expected a readable PEM file \(No such file"):
        store.write_evidence(decision(1))
    (tmp_path / "none.pem").write_text("x")
    with pytest.raises(SpecificationError, match="a private key: an Ed25519 key or one on a NIST curve"):
        store.write_evidence(decision(1))
    assert store.read_evidence("flights") == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", ["newest", "head", "all"])
def test_nothing_is_appended_while_documents_are_missing(kind, lost, tmp_path):
    store = _store(kind, tmp_path)
    for number in range(1, 4):
        store.write_evidence(decision(number))
    names = sorted(name for name in _files(store) if name.endswith(".json"))
    for name in {"newest": names[2:], "head": [HEAD], "all": names}[lost]:
        _remove(store, name)
        if kind == "remote" and name != HEAD:
            _remove(store, f"{name[:6]}.claim")
    with pytest.raises(ContractError, match=r"counts 3 documents and the newest here is|chain.head is missing"):
        store.write_evidence(decision(4))
    assert verify(_files(store), subject="flights").findings
    if lost != "head":
        with pytest.raises(ContractError, match=r"its head counts 3 documents, but only \d are here"):
            store.read_evidence("flights")


def test_documents_lost_for_good_are_given_up_by_hand(tmp_path):
    store = _store("local", tmp_path)
    written = [store.write_evidence(decision(number)) for number in range(1, 4)]
    folder = tmp_path / "root" / "evidence" / "flights"
    (folder / written[2][0].rsplit("/", 1)[1]).unlink()
    head = json.loads((folder / HEAD).read_text()) | {"count": 2, "digest": written[1][1]}
    (folder / HEAD).write_text(json.dumps(head, indent=2) + "\n")
    store.write_evidence(decision(4))
    assert verify(_files(store), subject="flights").findings == ()
    folder.rename(tmp_path / "kept")
    store.write_evidence(decision(5))
    assert [one.number for one in store.read_evidence("flights")] == [1]


def test_a_claim_restores_the_newest_document(tmp_path):
    store = _store("remote", tmp_path)
    for number in range(1, 3):
        store.write_evidence(decision(number))
    before = _files(store)
    _remove(store, max(name for name in before if name.endswith(".json")))
    store.write_evidence(decision(3))
    assert verify(_files(store)).findings == ()
    assert before.items() <= (_files(store) | {HEAD: before[HEAD]}).items()


# Writers that are killed --------------------------------------------------------------------------------------------


class _Crash(BaseException):
    """Stands for SIGKILL: nothing may catch it."""


@pytest.mark.parametrize("after", range(3))
def test_a_local_writer_may_die_after_any_file(after, tmp_path, key, monkeypatch):
    from airflow_mlops.hooks import evidence_writing

    store = _store("local", tmp_path)
    store.write_evidence(decision(1))
    real, written = evidence_writing._put, []

    def put(target: Path, content: bytes) -> None:
        if len(written) == after:
            target.with_name(f".{uuid.uuid4().hex}.tmp").write_bytes(content[:9])
            raise _Crash
        written.append(target.name)
        real(target, content)

    with monkeypatch.context() as patch:
        patch.setattr(evidence_writing, "_put", put)
        with pytest.raises(_Crash):
            store.write_evidence(decision(2))
    audit = verify(_files(store), subject="flights", signer=_signer(key[0]))
    assert audit.findings == ()
    store.write_evidence(decision(3))
    audit = verify(_files(store), subject="flights", signer=_signer(key[0]))
    assert (audit.findings, audit.notes) == ((), ())
    assert audit.documents == (2 if after < 2 else 3)


@pytest.mark.parametrize("after", range(1, 4))
def test_a_remote_writer_may_die_after_any_file(after, tmp_path, key, monkeypatch):
    store = _store("remote", tmp_path)
    store.write_evidence(decision(1))
    files = store.path("evidence").fs
    real, written = files.pipe_file, []

    def pipe_file(path, *args, **kwargs):
        if len(written) == after:
            raise _Crash
        written.append(path)
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(files, "pipe_file", pipe_file)
        with pytest.raises(_Crash):
            store.write_evidence(decision(2))
    audit = verify(_files(store), subject="flights", signer=_signer(key[0]))
    assert audit.findings == ()
    assert audit.notes
    store.write_evidence(decision(3))
    audit = verify(_files(store), subject="flights", signer=_signer(key[0]))
    assert (audit.documents, audit.findings, audit.notes) == (3, (), ())


_WRITERS = """
import os, random, signal, sys, time
from airflow.sdk.io import attach
from tests.evidence_chains import decision
from tests.object_folder import ObjectFolder
from airflow_mlops.hooks.artifacts import ArtifactStore

attach("memory", conn_id="objects", fs=ObjectFolder())

def write(store, log):
    while True:
        _, digest = store.write_evidence(decision(os.getpid()))
        os.write(log, (digest + "\\n").encode())

def started(store, log):
    pid = os.fork()
    if pid == 0:
        write(store, log)
    return pid

for root, name in zip(sys.argv[1::2], sys.argv[2::2]):
    store = ArtifactStore(root)
    store.write_evidence(decision(0))
    log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    running = [started(store, log) for _ in range(3)]
    for _ in range(12):
        seen = os.path.getsize(name)
        while os.path.getsize(name) < seen + 3 * 72:
            time.sleep(0.001)
        time.sleep(random.random() / 50)
        running.append(started(store, log))
        os.kill(running[0], signal.SIGKILL)
        os.waitpid(running.pop(0), 0)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


def test_writers_that_are_killed_lose_nothing_that_was_acknowledged(tmp_path):
    from tests.object_folder import ObjectFolder

    attach("memory", conn_id="objects", fs=ObjectFolder())
    roots = {f"file://{tmp_path}/local": tmp_path / "one", f"memory://objects@{tmp_path}/remote": tmp_path / "two"}
    words = [str(word) for pair in roots.items() for word in pair]
    subprocess.run([sys.executable, "-c", _WRITERS, *words], check=True, timeout=100)
    for root, log in roots.items():
        acknowledged = log.read_text().split()
        (chain,) = chain_folders(open_tree(root))
        audit = verify(chain.files, subject="flights", anchors=acknowledged)
        assert audit.findings == ()
        assert audit.anchored == tuple(acknowledged)
        assert len(set(acknowledged)) == len(acknowledged) >= 36
        ArtifactStore(root).write_evidence(decision(0))
        (chain,) = chain_folders(open_tree(root))
        audit = verify(chain.files, subject="flights")
        assert (audit.findings, audit.notes) == ((), ())


# Reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_appending_and_the_newest_documents_read_no_more_than_they_need(kind, tmp_path, monkeypatch):
    store = _store(kind, tmp_path)
    _put(store, chain_of(300, remote=kind == "remote"))
    files = store.path("evidence").fs
    real, read = files.cat_file, []

    def cat_file(path, *args, **kwargs):
        read.append(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(files, "cat_file", cat_file)
    store.write_evidence(decision(301))
    assert len(read) <= 5
    read.clear()
    newest = [record.document(store, "flights", name) for name in record.names(store, "flights")[-50:]]
    assert len(read) == 50
    assert [one.number for one in newest] == list(range(252, 302))


def test_a_document_is_checked_against_its_name(tmp_path):
    store = _store("local", tmp_path)
    store.write_evidence(decision(1))
    (name,) = record.names(store, "flights")
    with pytest.raises(SpecificationError, match="the name of an evidence document"):
        record.document(store, "flights", "../flights/x.json")
    path = tmp_path / "root" / "evidence" / "flights" / name
    path.write_text(path.read_text().replace('"pass"', '"fail"'))
    with pytest.raises(ContractError, match="the document was changed"):
        record.document(store, "flights", name)


# The commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(artifact_root) -> ArtifactStore:
    """A model with one release and what belongs to it, another model, and the data's own record."""
    store = ArtifactStore(f"file://{artifact_root}")
    digest, data = "sha256:" + "a" * 64, {"uri": "file:///d", "digest": "sha256:" + "d" * 64, "format": "csv"}
    model = {"uri": "file:///m", "digest": digest, "format": "mlflow", "size_bytes": 1}
    page = store.write_bytes(b"<p>gate</p>", "reports", "d", "r1", "t", "-1", "gate.html")
    card = store.write_bytes(b"# flights 1", "cards", "flights-1.md")
    evaluation = {"uri": store.write_bytes(b"{}", "jobs", "e.json"), "digest": "sha256:e"}
    store.write_evidence(decision(1, subject="rows", decision="validation", references={"dataset": data}))
    store.write_evidence(decision(2, subject="rows", decision="validation"))
    store.write_evidence(decision(1, subject="other"))
    gate = {"candidate": model, "dataset": data, "evaluation": evaluation}
    policy = {"policy": {"confidence": 0.95}, "policy_digest": "sha256:" + "9" * 64}
    gone = store.uri("reports", "gone.html")
    store.write_evidence(decision(1, references=gate, notes={"report_uri": page, "old_report_uri": gone}, **policy))
    store.write_evidence(decision(2, decision="registration", references={"model": model}, notes={"version": "1"}))
    store.write_evidence(
        decision(3, decision="card", references={"model": model}, notes={"version": "1", "card_uri": card})
    )
    later = {**model, "digest": "sha256:" + "b" * 64}
    store.write_evidence(decision(4, decision="registration", references={"model": later}, notes={"version": "2"}))
    return store


def test_verify_tells_every_finding_and_fails(command, recorded, artifact_root):
    code, out, err = command("verify")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "7 documents in 3 chains: nothing is wrong"
    assert "flights: 4 documents, newest sha256:" in out
    folder = artifact_root / "evidence" / "flights"
    one, two, three, four = sorted(folder.glob("*.json"))
    one.write_text(one.read_text().replace('"pass"', '"fail"', 1))
    two.write_bytes(two.read_bytes().replace(b"\n", b"\r\n"))
    three.unlink()
    (folder / "notes.txt").write_text("x")
    four.with_name("000004-0123456789ab.json").write_bytes(four.read_bytes())
    code, out, _ = command("verify", "flights")
    assert code == 1
    lines = [line.split(maxsplit=2) for line in out.splitlines()[1:-1]]
    found = [(kind, text) for kind, _, text in lines]
    assert [kind for kind, _ in found] == ["changed", "changed", "missing", "fork", "moved", "foreign"]
    assert out.splitlines()[0].endswith("newest unknown: 6 findings")
    assert "  missing    document 3 is missing" in out
    code, out, _ = command("verify", "flights", "--json")
    told = json.loads(out)
    assert (code, told["intact"]) == (1, False)
    assert [one["number"] for one in told["chains"][0]["findings"]] == [1, 2, 3, 4, 4, None]
    assert set(told["chains"][0]["findings"][0]) == {"number", "last", "file", "kind", "message"}


def test_verify_wants_anchors_and_signatures_that_are_asked_for(command, recorded, key, artifact_root):
    _, digest = recorded.write_evidence(decision(5))
    other = "sha256:" + "0" * 64
    assert command("verify", "--head", digest)[0] == 0
    code, out, _ = command("verify", "--head", digest, "--head", other)
    assert code == 1
    assert f"anchor     no document here has the digest {other}: it was changed or removed" in out
    code, out, _ = command("verify", "flights", "--key", key[0])
    assert (code, "signed by sha256:" in out) == (0, True)
    assert "documents 1 to 4: written before signing began" in out
    code, out, _ = command("verify", "flights", "--key", key[1])
    assert (code, "is by no key that was given" in out) == (1, True)
    code, out, _ = command("verify", "other", "--key", key[0])
    assert (code, "document 1 is not signed" in out) == (1, True)
    code, _, err = command("verify", "--head", "abc")
    assert (code, "head: 'abc' is not accepted; expected a document's digest" in err) == (1, True)
    code, _, err = command("verify", "nobody")
    assert (code, "there is no evidence of 'nobody'; of flights, other, rows" in err) == (1, True)
    code, _, err = command("verify", "--root", artifact_root / "none")
    assert (code, "expected a folder that exists, or a zip file of one" in err) == (1, True)
    code, _, err = command("verify", "--root", artifact_root / "reports")
    assert (code, "there is no folder 'evidence' here" in err) == (1, True)


def test_verify_asks_mlflow_what_its_versions_remember(command, recorded, mlflow_server, connection):
    import httpx

    def post(what: str, **values: object) -> None:
        answer = httpx.post(f"{mlflow_server}/api/2.0/mlflow/{what}", json=values, timeout=30)
        assert answer.status_code == 200, answer.text

    connection("mlflow_audit", conn_type="mlflow", host=mlflow_server)
    name = f"flights-{uuid.uuid4().hex}"
    _, digest = recorded.write_evidence(decision(1, subject=name))
    tags = {"mlops.registration_evidence": digest, "mlops.promotion_evidence": ""}
    post("registered-models/create", name=name)
    post(
        "model-versions/create",
        name=name,
        source="s3://bucket/model",
        tags=[{"key": key, "value": tags[key]} for key in tags],
    )
    assert command("verify", "--mlflow-conn-id", "mlflow_audit")[0] == 0
    other = "sha256:" + "0" * 64
    post("model-versions/set-tag", name=name, version="1", key="mlops.promotion_evidence", value=other)
    code, out, _ = command("verify", name, "--mlflow-conn-id", "mlflow_audit")
    assert code == 1
    assert f"no document here has the digest {other}, which version 1 of {name!r} has in its tag mlops.promotion" in out


def test_verify_reads_a_copied_folder_without_a_database(recorded, artifact_root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(artifact_root / "evidence" / "flights", copy)
    home = tmp_path / "home"
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/none.db"
    del environment["AIRFLOW__MLOPS__ARTIFACT_ROOT"]
    airflow = [sys.executable, "-m", "airflow", "mlops", "audit", "verify", "--root", str(copy)]
    done = subprocess.run(airflow, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "4 documents in 1 chain: nothing is wrong"
    assert not (home / "none.db").exists()


def test_log_prints_the_decisions(command, recorded, artifact_root):
    code, out, _ = command("log", "flights")
    head, *rows = out.splitlines()
    assert (code, head.split()[:2], len(rows)) == (0, ["no.", "decided"], 4)
    assert rows[1].split()[3:6] == ["registration", "pass", "d.t"]
    assert "registered as version 1" in rows[1]
    code, out, _ = command("log", "flights", "--last", 1, "--json")
    assert [row["number"] for row in json.loads(out)] == [4]
    newest = max((artifact_root / "evidence" / "flights").glob("*.json"))
    newest.write_text("{}")
    code, out, _ = command("log", "flights", "--last", 1)
    assert (code, "unreadable" in out) == (1, True)


def test_an_export_holds_the_release_and_verifies_anywhere(command, recorded, key, tmp_path):

    recorded.write_evidence(decision(5, decision="promotion", references={}, notes={"version": "1"}))
    code, _, err = command("export", "flights", "--version", 1, "--output", tmp_path / "out")
    assert (code, err) == (0, "")
    folder = tmp_path / "out"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"README.txt", "SHA256SUMS", "release.json", "cards/flights-1.md", "jobs/e.json"} <= files
    assert {"reports/d/r1/t/-1/gate.html", "policies/gate-999999999999.json"} <= files
    assert len([name for name in files if name.startswith("evidence/flights/") and name.endswith(".json")]) == 5
    assert len([name for name in files if name.startswith("evidence/rows/") and name.endswith(".json")]) == 1
    assert not any(name.startswith("evidence/other/") for name in files)
    facts = json.loads((folder / "release.json").read_text())
    assert (facts["documents"], facts["last"]) == ([1, 2, 3, 5], 5)
    assert command("verify", "--root", folder, "--head", facts["anchor"])[0] == 0
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    readme = (folder / "README.txt").read_text()
    assert str(recorded.uri("reports", "gone.html")) in readme
    script = readme[readme.index("python3 - evidence") :]
    script = script[: script.index("\nEND\n") + 5]
    shown = subprocess.run(["bash", "-c", script], cwd=folder, check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["ok"] * 5
    assert shown.split()[-1] == facts["anchor"]


def test_exports_are_the_same_bytes_and_not_written_over(command, recorded, tmp_path):
    for name in ("one.zip", "two.zip"):
        assert command("export", "flights", "--version", "1", "--output", tmp_path / name)[0] == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert command("verify", "--root", tmp_path / "one.zip")[0] == 0
    code, _, err = command("export", "flights", "--version", "1", "--output", tmp_path / "one.zip")
    assert (code, "expected a file that does not exist yet" in err) == (1, True)
    code, _, err = command("export", "flights", "--version", "7", "--output", tmp_path / "x")
    assert (code, "expected a version with decisions on record: 1, 2" in err) == (1, True)
    code, _, err = command("export", "nobody", "--version", "7", "--output", tmp_path / "x")
    assert (code, "expected a model with decisions on record" in err) == (1, True)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("damaged", ["reports/d/r1/t/-1/gate.html", "README.txt", "SHA256SUMS", "extra", "removed"])
def test_a_change_of_any_file_of_an_export_is_found(command, recorded, tmp_path, damaged):
    assert command("export", "flights", "--version", "1", "--output", tmp_path / "x.zip")[0] == 0
    content = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "x.zip") as before, zipfile.ZipFile(content, "w") as after:
        for name in before.namelist():
            if not (damaged == "removed" and name.startswith("cards/")):
                after.writestr(name, before.read(name) + (b"x" if name == damaged else b""))
        if damaged == "extra":
            after.writestr("extra", b"")
    (tmp_path / "y.zip").write_bytes(content.getvalue())
    code, out, _ = command("verify", "--root", tmp_path / "y.zip")
    assert code == 1
    assert out.splitlines()[-1].endswith("chains: 1 finding")


def test_a_chain_that_does_not_verify_is_not_exported(command, recorded, artifact_root, tmp_path):
    next((artifact_root / "evidence" / "flights").glob("000001-*.json")).write_text("{}")
    code, _, err = command("export", "flights", "--version", "1", "--output", tmp_path / "x")
    assert (code, "evidence of 'flights' does not verify, so it is not exported" in err) == (1, True)


def test_signatures_verify_with_openssl(recorded, key, artifact_root, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    import base64

    _, digest = recorded.write_evidence(decision(5))
    (path,) = (artifact_root / "evidence" / "flights").glob("*.sig")
    (tmp_path / "message").write_text(f"airflow-mlops evidence signature 1\n{digest}")
    (tmp_path / "signature.bin").write_bytes(base64.b64decode(json.loads(path.read_text())["signature"]))
    words = ["-verify", "-pubin", "-inkey", str(key[0]), "-rawin", "-in", "message", "-sigfile", "signature.bin"]
    subprocess.run(["openssl", "pkeyutl", *words], cwd=tmp_path, check=True, capture_output=True)


def test_the_schema_describes_what_is_written(recorded, artifact_root):
    import jsonschema

    from airflow_mlops.schemas import load_schema

    schema = load_schema("evidence-1")
    written = list((artifact_root / "evidence").glob("*/*.json"))
    assert written
    for path in written:
        jsonschema.validate(json.loads(path.read_text()), schema)
