"""Registering, promoting and rolling back, through Airflow and a real MLflow server."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.asset import Model

pytest.importorskip("mlflow")

from airflow_mlops.codec import encode
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.mlflow import MLflowHook
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import PromoteModelOperator, RegisterModelOperator, RollBackModelOperator
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

pytestmark = pytest.mark.stack
MLMODEL = """
flavors: {}
signature:
  inputs: '[{"type": "double", "name": "hour", "required": true}]'
  outputs: '[{"type": "double", "required": true}]'
  params: null
"""
IMAGE = {"uri": "mlops-trainer:1", "digest": "sha256:" + "e" * 64, "format": "docker", "size_bytes": 1}
DATASET = {"uri": "file:///d", "digest": "sha256:" + "d" * 64, "partition": "2013-03"}


@pytest.fixture
def name() -> str:
    return f"flights-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def store(artifact_root, connection, mlflow_server) -> ArtifactStore:
    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    return ArtifactStore.from_config()


@pytest.fixture
def registry(store):
    return MLflowHook().registry()


@pytest.fixture
def model(artifact_root: Path) -> ModelRef:
    folder = artifact_root / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "requirements.txt").write_text("scikit-learn==1.9.1  # what it was trained with\n# and\nskops==0.16.0\n")
    manifest = manifest_of(folder)
    return ModelRef(uri=f"file://{folder}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)


def _gate(store: ArtifactStore, name: str, model: ModelRef, verdict: Verdict = Verdict.PASS) -> dict:
    check = CheckResult(name="roc_auc", verdict=verdict, reason="0.70 is no worse than 0.69", sample_size=1000)
    evidence = Evidence(
        decision="gate",
        subject=name,
        verdict=verdict,
        checks=(check,),
        origin=Origin(dag_id="d", run_id="r", task_id="gate", try_number=1),
        decided_at=1.0,
        references={"candidate": encode(model)},
    )
    uri, digest = store.write_evidence(evidence)
    return {"verdict": verdict.value, "evidence_uri": uri, "evidence_digest": digest}


def _register(name: str, model: ModelRef, **changes) -> RegisterModelOperator:
    return RegisterModelOperator(task_id="register", model_name=name, model=encode(model), **changes)


def test_a_model_is_registered_with_everything_it_comes_from(run_dag, store, registry, name, model):
    candidate = Model(f"{name}-candidate", uri=f"mlflow://models/{name}")
    with DAG("register_all", schedule=None) as dag:
        _register(
            name,
            model,
            evaluation={"evaluation_uri": "file:///e", "evaluation_digest": "x", "summary": {"roc_auc": 0.7}},
            gate=_gate(store, name, model),
            datasets={"train": [DATASET]},
            image=IMAGE,
            git_revision="{{ 'c' * 40 }}",
            needs=["requirements", "signature", "datasets", "image", "git_revision", "gate", "evaluation"],
            outlets=[candidate],
        )
    run = run_dag(dag)

    assert run.states == {"register": "success"}
    version = registry.by_alias(name, "challenger")
    assert run.xcom("register") == encode(version) | {"tags": run.xcom("register")["tags"]}
    assert version.model == model
    assert version.tags["mlops.dataset.train"] == DATASET["digest"]
    assert version.tags["mlops.partitions.train"] == "2013-03"
    assert version.tags["mlops.dag_id"] == "register_all"
    assert version.tags["mlops.run_id"] == run.run_id
    assert version.tags["mlops.gate_verdict"] == "pass"
    assert (version.tags["mlops.image"], version.tags["mlops.image_uri"]) == (IMAGE["digest"], "mlops-trainer:1")
    assert version.tags["mlops.git_revision"] == "c" * 40
    assert version.tags["mlops.requirements"] == "scikit-learn==1.9.1, skops==0.16.0"
    assert json.loads(version.tags["mlops.signature"])["inputs"][0]["name"] == "hour"
    gate, registration = store.read_evidence(name)
    assert (gate.decision, registration.decision) == ("gate", "registration")
    assert registration.notes["version"] == "1"
    assert {check.name for check in registration.checks} > {"files", "gate", "requirements", "signature", "image"}
    (event,) = _events(candidate)
    assert event.extra["version"] == "1"
    assert event.extra["model_name"] == name
    assert event.extra["digest"] == model.digest
    assert event.extra["evidence_digest"] == version.tags["mlops.registration_evidence"]
    assert "/#/experiments/" in run.xcom("register", key="_link_MLflowRunLink")


def _events(asset) -> list:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.settings import Session
    from sqlalchemy import select

    query = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id).where(AssetModel.uri == asset.uri)
    return list(Session().scalars(query))


def test_a_second_try_finds_the_first_ones_version(store, registry, name, model):
    operator = _register(name, model)
    first = operator.execute(_context())
    assert operator.execute(_context(try_number=2)) == first | {"tags": registry.version(name, "1").tags}
    assert len(store.read_evidence(name)) == 1
    assert operator.execute(_context(run_id="another"))["version"] == "2"


def _context(run_id: str = "manual__2013-03-01T00:00:00+00:00", try_number: int = 1) -> dict:
    from types import SimpleNamespace

    ti = SimpleNamespace(
        dag_id="d", run_id=run_id, task_id="t", map_index=-1, try_number=try_number, xcom_push=lambda **_: None
    )
    return {"ti": ti, "outlet_events": {}}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda s, n, m: {"gate": _gate(s, n, m, Verdict.FAIL)}, "gate: its verdict is 'fail'"),
        (lambda s, n, m: {"gate": {"verdict": "pass"}}, "gate: it names no evidence"),
        (lambda s, n, m: {"gate": _gate(s, n, m) | {"evidence_digest": "sha256:0"}}, "does not have the digest"),
        (lambda s, n, m: {"alias": "champion"}, "alias: 'champion' is not accepted; expected 'challenger' or None"),
        (lambda s, n, m: {"datasets": {"train": {"uri": "x"}}}, "expected an encoded DatasetRef"),
        (lambda s, n, m: {"model": {"uri": "file:///x"}}, r"model\.digest: None is not accepted"),
        (lambda s, n, m: {"image": "mlops-trainer:1"}, "image: 'mlops-trainer:1' is not accepted; expected an enc"),
        (
            lambda s, n, m: {"needs": ["image", "gate"]},
            r"would lack image \(hand over image\); gate \(hand over gate\)",
        ),
        (lambda s, n, m: {"needs": ["licence"]}, "needs: \\['licence'\\] is not accepted; expected some of 'datasets'"),
        (lambda s, n, m: {"mlflow_run_id": "nope"}, "says RESOURCE_DOES_NOT_EXIST|nope"),
    ],
)
def test_bad_input_fails_with_a_message_and_registers_nothing(store, name, model, arguments, message):
    from airflow.sdk.exceptions import AirflowFailException

    given = {"model": encode(model)} | arguments(store, name, model)
    operator = RegisterModelOperator(task_id="register", model_name=name, **given)
    with pytest.raises(AirflowFailException, match=message):
        operator.execute(_context())
    assert MLflowHook().registry().by_alias(name, "challenger") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MLmodel": "flavors: {}"}, r"would lack signature \(save the model with its signature\)"),
        ({"MLmodel": "a: [", "requirements.txt": ""}, "MLmodel: this is not YAML"),
        ({"requirements.txt": "# none\n"}, r"would lack requirements \(save the model with pip_requirements\)"),
        ({"requirements.txt": "skops==0.16.0\nscikit-learn>=1.9"}, "names no exact version of scikit-learn>=1.9"),
        ({"requirements.txt": "skops==0.*"}, r"names no exact version of skops==0\.\*"),
    ],
)
def test_a_model_that_does_not_say_how_it_is_used_is_not_registered(
    store, registry, name, artifact_root, change, message
):
    from airflow.sdk.exceptions import AirflowFailException

    folder = artifact_root / "other"
    folder.mkdir()
    for file, text in ({"MLmodel": MLMODEL, "requirements.txt": "skops==0.16.0"} | change).items():
        (folder / file).write_text(text)
    manifest = manifest_of(folder)
    other = ModelRef(uri=f"file://{folder}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
    with pytest.raises(AirflowFailException, match=message):
        _register(name, other).execute(_context())
    assert registry.by_alias(name, "challenger") is None


def test_changed_files_are_not_registered(store, registry, name, model, artifact_root):
    from airflow.sdk.exceptions import AirflowFailException

    (artifact_root / "model" / "MLmodel").write_text("tampered")
    with pytest.raises(AirflowFailException, match="the content changed"):
        _register(name, model).execute(_context())
    assert registry.by_alias(name, "challenger") is None


def test_an_unreachable_server_is_retried(artifact_root, connection, free_port, model):
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}")
    with pytest.raises(AirflowException, match=f"MLflow at http://127.0.0.1:{free_port} does not answer") as caught:
        _register("flights", model).execute(_context())
    assert not isinstance(caught.value, AirflowFailException)


def test_a_release_and_its_reversal(run_dag, store, registry, name, model):
    registered = _register(name, model)
    registered.execute(_context("one"))
    registered.execute(_context("two"))
    with DAG("release", schedule=None) as dag:
        first = PromoteModelOperator(task_id="first", model_name=name, version="1", expected_champion=None)
        second = PromoteModelOperator(
            task_id="second",
            model_name=name,
            version="{{ 2 }}",
            expected_champion="1",
            rollout={"outcome": "promoted", "evidence_uri": "file:///r"},
        )
        again = PromoteModelOperator(task_id="again", model_name=name, version="2", expected_champion="1")
        back = RollBackModelOperator(task_id="back", model_name=name, version="2", reason="it answered 500")
        first >> second >> again >> back
    run = run_dag(dag)

    assert set(run.states.values()) == {"success"}
    assert registry.by_alias(name, "champion").version == "1"
    assert registry.by_alias(name, "challenger") is None
    assert run.xcom("second")["tags"]["mlops.previous_champion"] == "1"
    assert run.xcom("back")["tags"]["mlops.rejected"] == "it answered 500"
    decisions = [(one.decision, one.verdict) for one in store.read_evidence(name)]
    assert decisions == [
        ("registration", Verdict.PASS),
        ("registration", Verdict.PASS),
        ("promotion", Verdict.PASS),
        ("promotion", Verdict.PASS),
        ("promotion", Verdict.FAIL),
    ]


def test_a_promotion_that_must_not_be_says_why(store, registry, name, model, artifact_root):
    from airflow.sdk.exceptions import AirflowFailException

    _register(name, model).execute(_context())

    def promote(**changes):
        return PromoteModelOperator(task_id="promote", **({"model_name": name, "version": "1"} | changes)).execute(
            _context()
        )

    with pytest.raises(AirflowFailException, match="has no version '9'; registered: 1"):
        promote(version="9")
    with pytest.raises(AirflowFailException, match="is no version, but version 4 was expected"):
        promote(expected_champion="4")
    with pytest.raises(AirflowFailException, match="its outcome is 'rolled_back'; only 'promoted' promotes"):
        promote(rollout={"outcome": "rolled_back"})
    (artifact_root / "model" / "MLmodel").write_text("tampered")
    with pytest.raises(AirflowFailException, match="the content changed"):
        promote()
    assert registry.by_alias(name, "champion") is None


def test_a_promotion_can_need_peoples_approval(store, registry, name, model):
    from airflow.sdk.exceptions import AirflowFailException

    from airflow_mlops.governance.approval import Author, Question, ReleaseAnswer, Standing, conclusion, notes, step

    def approval(approved: bool = True, digest: str = model.digest, **changes) -> dict:
        asked = {
            "model_name": name,
            "model_digest": digest,
            "version": "1",
            "evidence_digest": DATASET["digest"],
            "author": Author(names=("ada",), source="argument"),
            "quorum": 1,
            "asked_at": 1.0,
            "expires_at": 1e11,
        }
        question = Question(**{**asked, **changes})
        answer = ReleaseAnswer(
            approved=approved, by_id="grace", by_name="Grace", at=1.5, evidence=question.evidence_digest
        )
        standing = step(Standing(question=question), answer, newest=question.evidence_digest)
        check = conclusion(standing, Verdict.PASS)
        evidence = Evidence(
            decision="approval",
            subject=name,
            verdict=check.verdict,
            checks=(check,),
            origin=Origin(dag_id="d", run_id="r", task_id="approve", try_number=1),
            decided_at=2.0,
            references={"candidate": {"digest": question.model_digest}},
            notes=notes(standing, answer),
        )
        uri, found = store.write_evidence(evidence)
        return {"evidence_uri": uri, "evidence_digest": found}

    _register(name, model).execute(_context())

    def promote(given: dict) -> dict:
        made = PromoteModelOperator(task_id="promote", model_name=name, version="1", approval=given)
        return made.execute(_context())

    for given, message in (
        ({}, "approval: it is empty"),
        ({"verdict": "pass"}, "hand over what ApproveReleaseOperator returned"),
        (approval(approved=False), "the release was not approved: rejected by Grace"),
        (approval(version="2"), "about version 2, but version 1 is released"),
        (approval(digest=DATASET["digest"]), "approval: it is about the model"),
        (approval(expires_at=2.0), "its time is over"),
        (_gate(store, name, model), "not that of ApproveReleaseOperator"),
    ):
        with pytest.raises(AirflowFailException, match=message):
            promote(given)
    assert registry.by_alias(name, "champion") is None
    given = approval()
    promote(given)
    assert registry.by_alias(name, "champion").version == "1"
    promotion = store.read_evidence(name)[-1]
    assert promotion.references["approval"] == given
    assert promotion.checks[-1].reason == "approved by Grace (id grace), 1 of 1"


def test_a_roll_back_takes_its_reason_from_the_runs_own_decision(store, registry, name, model):
    _register(name, model).execute(_context())
    check = CheckResult(name="errors", verdict=Verdict.FAIL, reason="12 of 100 answers were errors")
    for run_id in ("other", "mine"):
        store.write_evidence(
            Evidence(
                decision="rollout",
                subject=name,
                verdict=Verdict.FAIL,
                checks=(check,),
                origin=Origin(dag_id="d", run_id=run_id, task_id="canary", try_number=1),
                decided_at=1.0,
            )
        )
    operator = RollBackModelOperator(task_id="back", model_name=name, version="1")
    result = operator.execute(_context("mine"))
    assert result["tags"]["mlops.rejected"] == "rollout of run mine: 12 of 100 answers were errors"
    assert operator.execute(_context("mine")) == result
    assert [one.verdict for one in store.read_evidence(name)].count(Verdict.FAIL) == 3


def test_a_run_that_decided_nothing_only_withdraws(store, registry, name, model):
    _register(name, model).execute(_context())
    operator = RollBackModelOperator(task_id="back", model_name=name, version="1")
    result = operator.execute(_context("mine"))
    assert result["tags"]["mlops.withdrawn"] == "run mine failed before a decision about the model was recorded"
    assert "mlops.rejected" not in result["tags"]
    assert registry.by_alias(name, "challenger") is None
    assert store.read_evidence(name)[-1].verdict is Verdict.ERROR
    promoted = PromoteModelOperator(task_id="promote", model_name=name, version="1").execute(_context("next"))
    assert promoted["tags"]["mlops.withdrawn"] == ""
    assert registry.by_alias(name, "champion").version == "1"
