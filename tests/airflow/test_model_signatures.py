"""Signed models: from the command line to the operators that load them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from airflow.sdk import DAG

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.model_signatures import read_loading, signatures_of
from airflow_mlops.loading import Loading
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import EvaluateModelOperator, StartModelServerOperator


@pytest.fixture
def keys(tmp_path):
    """Files with two pairs of keys: ``release`` and ``other``."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    pem = serialization.Encoding.PEM
    for name in ("release", "other"):
        key = Ed25519PrivateKey.generate()
        hidden = serialization.BestAvailableEncryption(b"open sesame")
        (tmp_path / f"{name}.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, hidden))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub.pem").write_bytes(public)
    return tmp_path


@pytest.fixture
def model(tmp_path):
    """A small model in MLflow's format, with its sample; encoded reference."""
    import pandas as pd

    with warnings.catch_warnings():
        # It looks for the home of every ufunc in all modules, and Airflow's deprecated ones complain about being asked.
        warnings.simplefilter("ignore")
        import skops.io
    from sklearn.linear_model import LogisticRegression

    rows = pd.DataFrame({"sched_hour": [5.0, 8.0, 20.0, 23.0], "visib": [10.0, 9.0, 3.0, 1.0]})
    estimator = LogisticRegression().fit(rows, [0, 0, 1, 1])
    directory = tmp_path / "model"
    directory.mkdir()
    skops.io.dump(estimator, directory / "model.skops")
    columns = [{"name": name, "type": "double"} for name in rows]
    flavor = {"serialization_format": "skops", "pickled_model": "model.skops"}
    metadata = {"flavors": {"sklearn": flavor}, "signature": {"inputs": json.dumps(columns)}}
    (directory / "MLmodel").write_text(yaml.safe_dump(metadata))
    sample = {
        "features": rows.to_dict("records"),
        "predictions": estimator.predict_proba(rows)[:, 1].tolist(),
    }
    (directory / "smoke.json").write_text(json.dumps(sample))
    manifest = manifest_of(directory)
    return {
        "uri": f"file://{directory}",
        "digest": manifest.digest,
        "format": "mlflow",
        "size_bytes": manifest.size_bytes,
    }


@pytest.fixture
def command(airflow_db, artifact_root, capsys, monkeypatch):
    """Run ``airflow mlops model …``; returns exit status, output and errors."""
    from airflow.cli.cli_parser import get_parser

    monkeypatch.setenv("PASSPHRASE", "open sesame")

    def run(*words):
        args = get_parser().parse_args(["mlops", "model", *map(str, words)])
        capsys.readouterr()
        status = 0
        try:
            args.func(args)
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run


def sign(command, keys, model, name="release"):
    words = ("--key", keys / f"{name}.pem", "--passphrase-variable", "PASSPHRASE")
    status, out, err = command("sign", model["uri"], *words)
    assert (status, err) == (0, "")
    return out


def test_what_is_signed_verifies_and_what_was_changed_does_not(command, keys, model):
    public = ("--key", keys / "release.pub.pem")
    status, out, err = command("verify", model["uri"], *public)
    assert (status, out) == (1, "")
    assert f"model {model['digest']}: no signature by sha256:" in err

    assert f"signed {model['digest']} by the key sha256:" in sign(command, keys, model)
    status, out, err = command("verify", model["uri"], "--digest", model["digest"], *public)
    assert (status, err) == (0, "")
    assert f"{model['digest']} is signed by the key sha256:" in out
    status, _, err = command("verify", model["uri"], "--key", keys / "other.pub.pem")
    assert status == 1
    assert "there are signatures by" in err

    (keys / "model" / "smoke.json").write_text("{}")
    status, _, err = command("verify", model["uri"], *public)
    assert status == 1
    assert "no signature by" in err
    status, _, err = command("verify", model["uri"], "--digest", model["digest"], *public)
    assert status == 1
    assert "the content changed" in err


def test_two_people_may_sign_and_neither_overwrites_the_other(command, keys, model, artifact_root):
    sign(command, keys, model)
    sign(command, keys, model, "other")
    found = signatures_of(ArtifactStore(f"file://{artifact_root}"), model["digest"])
    assert len({one.key_id for one in found}) == 2
    for name in ("release", "other"):
        assert command("verify", model["uri"], "--key", keys / f"{name}.pub.pem")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--key", "nowhere.pem"), "key: 'nowhere.pem' is not accepted; expected a readable file"),
        (("--key", "release.pem"), "expected a private key"),
        (("--key", "release.pem", "--passphrase-variable", "NO_SUCH"), "an environment variable that is set"),
        (("--key", "release.pem", "--digest", "sha256:" + "a" * 64), "the content changed"),
    ],
)
def test_what_cannot_be_signed_is_told_in_one_sentence(command, keys, model, monkeypatch, words, message):
    monkeypatch.chdir(keys)
    status, out, err = command("sign", model["uri"], *words)
    assert (status, out) == (1, "")
    assert message in err


def test_keys_may_lie_beside_the_dag(command, keys, model, artifact_root):
    sign(command, keys, model)
    store = ArtifactStore(f"file://{artifact_root}")
    (keys / "loading.yaml").write_text("signature: {public_keys: [release.pub.pem]}\n")
    found = read_loading("loading.yaml", [model["digest"]], store=store, folder=keys)
    assert found.policy.signature.public_keys == ((keys / "release.pub.pem").read_text(),)
    assert decode(Loading, encode(found)) == found


@pytest.fixture
def evaluate(run_dag, artifact_root, made_up_flights, tmp_path, model):
    def run(loading, **arguments):
        with DAG(f"evaluate_{tmp_path.name}", schedule=None) as dag:
            EvaluateModelOperator(
                task_id="evaluate",
                candidate=model,
                dataset=encode(made_up_flights(2000, "2013-02", 2)),
                target="late",
                model_name="flights",
                loading=loading,
                **arguments,
            )
        return run_dag(dag)

    return run


def test_an_unsigned_candidate_is_not_evaluated(evaluate, keys, model, capsys, caplog):
    policy = {"signature": {"public_keys": [str(keys / "release.pub.pem")]}}
    assert evaluate(policy).states == {"evaluate": "failed"}
    assert f"model {model['digest']}: no signature by" in caplog.text + capsys.readouterr().out


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_signed_candidate_is_evaluated_group_by_group_and_the_report_says_who_signed(
    evaluate, command, keys, model, model_python, monkeypatch
):
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    sign(command, keys, model)
    policy = {"signature": {"public_keys": [str(keys / "release.pub.pem")]}}
    run = evaluate(policy, diagnostics={"fairness": {"columns": ["origin"]}})
    assert run.states == {"evaluate": "success"}
    found = run.xcom("evaluate")
    report = parse_report(Path(found["evaluation_uri"].removeprefix("file://")).read_text())
    (signature,) = signatures_of(ArtifactStore.from_config(), model["digest"])
    assert report.loaded["candidate"].signed_by == signature.key_id
    assert report.loaded["candidate"].digest == model["digest"]
    (column,) = report.diagnostics.fairness.columns
    assert [group.name for group in column.groups] == ["EWR", "JFK", "LGA"]
    assert column.spreads["selection_rate"].gap.low == 0
    assert "<h2>Groups</h2>" in Path(found["report_uri"].removeprefix("file://")).read_text()


def test_a_server_is_not_started_for_an_unsigned_model(run_dag, artifact_root, keys, model, connection, capsys, caplog):
    connection("model_gateway_default", conn_type="model_gateway", host="http://127.0.0.1:1", extra={})
    with DAG(f"serve_{keys.name}", schedule=None) as dag:
        StartModelServerOperator(
            task_id="serve",
            model_name="flights",
            version="1",
            model=model,
            loading={"signature": {"public_keys": [str(keys / "release.pub.pem")]}},
        )
    assert run_dag(dag).states == {"serve": "failed"}
    assert "no signature by" in caplog.text + capsys.readouterr().out


def test_the_server_itself_refuses_what_is_not_signed(command, keys, model, artifact_root, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    public = (keys / "release.pub.pem").read_text()
    loading = {"policy": {"signature": {"public_keys": [public]}}}
    words = [sys.executable, "-m", "airflow_mlops.container.server", "--name", "flights-v1", "--model-name", "flights"]
    words += ["--version", "1", "--model-dir", model["uri"].removeprefix("file://"), "--digest", model["digest"]]
    words += ["--port", str(port), "--prediction-log", str(tmp_path / "log")]
    ended = subprocess.run(
        [*words, "--loading", canonical_json(loading)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"flights-v1: model {model['digest']}: no signature by sha256:")
    ended = subprocess.run([*words, "--loading", "{"], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "flights-v1: loading: '{' is not accepted; expected JSON" in ended.stderr
