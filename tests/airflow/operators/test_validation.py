"""Validation as a task: what stops, what goes on, and what is kept of it."""

from __future__ import annotations

import io
import json
import uuid

import pytest
from airflow.sdk import DAG
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem

from airflow_mlops.codec import decode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.operators.datasets import SnapshotDatasetOperator
from airflow_mlops.operators.validation import ValidateDataOperator
from airflow_mlops.references import DatasetRef

pytest.importorskip("great_expectations")
pd = pytest.importorskip("pandas")

RULES = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "flight_id"}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "dep_delay", "min_value": -120, "max_value": 1500},
    },
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "temp", "mostly": 0.9}, "severity": "warning"},
]
SUITE = {"name": "flights", "rules": RULES}


@pytest.fixture
def validate(run_dag, tmp_path, artifact_root, request):
    """Snapshot a frame and validate it in one run."""

    def run(frame, **arguments):
        frame.to_parquet(tmp_path / "rows.parquet")
        with DAG(f"validate_{request.node.name.split('[')[0]}", schedule=None) as dag:
            taken = SnapshotDatasetOperator(task_id="snapshot", uri=str(tmp_path / "rows.parquet"), partition="2013-03")
            ValidateDataOperator(task_id="validate", dataset=taken.output, **({"suite": SUITE} | arguments))
        return run_dag(dag)

    return run


def flights(rows: int = 200):
    return pd.DataFrame(
        {
            "flight_id": [f"f{i}" for i in range(rows)],
            "dep_delay": [float(i % 60) for i in range(rows)],
            "temp": [50.0] * rows,
        }
    )


def test_sound_data_pass_and_leave_report_and_evidence(validate, artifact_root):
    run = validate(flights())

    found = run.xcom("validate")
    store = ArtifactStore(f"file://{artifact_root}")
    (evidence,) = store.read_evidence("flights")
    assert run.state == "success"
    assert found["verdict"] == "pass"
    assert found["summary"] == {"rules": 3, "evaluated": 3, "kept": 3, "broken": 0, "errors": 0, "rows": 200}
    assert found["dataset"] == run.xcom("snapshot")
    assert (evidence.decision, evidence.verdict.value) == ("validation", "pass")
    assert evidence.references["dataset"]["digest"] == found["dataset"]["digest"]
    assert found["dataset"]["digest"] in store.read_bytes(found["report_uri"]).decode()
    assert run.xcom("validate", "_link_ReportLink").endswith("/validate/-1/validation")


def test_impossible_delays_stop_with_rule_rows_and_examples(validate, capsys, artifact_root):
    frame = flights()
    frame.loc[[3, 7], "dep_delay"] = 99_999.0

    run = validate(frame, log_examples=True)

    found, said = run.xcom("validate"), "".join(capsys.readouterr())
    assert run.states == {"snapshot": "success", "validate": "failed"}
    assert "dataset 2013-03 is not fit for use by suite 'flights'" in said
    assert "dep_delay: values to be between: broken by 2 of 200 rows (1.0%), for example 99999.0" in said
    assert found["verdict"] == "fail"
    assert found["failed"][0]["unexpected_count"] == 2
    assert found["failed"][0]["examples"] == ["99999.0"]
    assert ArtifactStore(f"file://{artifact_root}").read_evidence("flights")[0].verdict.value == "fail"
    assert len(json.dumps(found)) < 4000


def test_values_of_rows_stand_in_the_report_only_unless_asked_for(validate, capsys, artifact_root):
    frame = flights()
    frame.loc[[3, 7], "dep_delay"] = 77_777.0
    most = {"type": "expect_column_max_to_be_between", "kwargs": {"column": "dep_delay", "max_value": 1500}}

    found = validate(frame, suite={"name": "flights", "rules": [*RULES, most]}).xcom("validate")

    said = "".join(capsys.readouterr())
    store = ArtifactStore(f"file://{artifact_root}")
    assert "broken by 2 of 200 rows" in said
    assert "77777" in store.read_bytes(found["report_uri"]).decode()
    assert not [
        text for text in (said, json.dumps(found), store.read_bytes(found["evidence_uri"]).decode()) if "77777" in text
    ]


def test_what_an_exception_quotes_of_the_data_is_not_repeated(validate, capsys, artifact_root):
    frame = flights().assign(temp=["secret-word"] * 200)
    rule = {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "temp", "min_value": 0}}

    found = validate(frame, suite={"name": "flights", "rules": [rule]}).xcom("validate")

    said = "".join(capsys.readouterr())
    assert (found["verdict"], found["summary"]["errors"]) == ("error", 1)
    assert "temp: mean to be between: could not be evaluated" in said
    assert "secret-word" not in said + json.dumps(found)


def test_no_value_of_a_row_leaves_when_examples_are_off(validate, capsys, artifact_root):
    frame = flights()
    frame.loc[[3, 7], "dep_delay"] = 77_777.0

    found = validate(frame, example_rows=0).xcom("validate")

    report = ArtifactStore(f"file://{artifact_root}").read_bytes(found["report_uri"]).decode()
    said = "".join(capsys.readouterr())
    assert "broken by 2 of 200 rows" in said
    assert not [text for text in (report, said, json.dumps(found)) if "77777" in text]


def test_a_missing_column_is_an_error_that_names_it(validate, capsys):
    run = validate(flights().rename(columns={"dep_delay": "delay"}))

    assert run.states["validate"] == "failed"
    assert run.xcom("validate")["verdict"] == "error"
    assert "could not be evaluated: the column 'dep_delay' is missing" in "".join(capsys.readouterr())


def test_warnings_and_on_fail_warn_go_on(validate):
    frame = flights()
    frame.loc[frame.index % 10 < 3, "temp"] = None
    assert validate(frame).xcom("validate")["verdict"] == "warn"
    frame.loc[0, "dep_delay"] = 99_999.0

    run = validate(frame, on_fail="warn")

    assert run.state == "success"
    assert run.xcom("validate")["verdict"] == "fail"


def test_an_error_is_no_warning(validate):
    run = validate(flights().drop(columns="temp"), on_fail="warn")

    assert run.states["validate"] == "failed"


def test_data_that_changed_since_the_snapshot_are_refused(run_dag, tmp_path, artifact_root, capsys):
    flights().to_parquet(tmp_path / "rows.parquet")
    reference = {
        "uri": f"file://{tmp_path}/rows.parquet",
        "digest": "sha256:" + "0" * 64,
        "format": "parquet",
        "size_bytes": 1,
        "rows": 200,
    }
    with DAG("validate_changed", schedule=None) as dag:
        ValidateDataOperator(task_id="validate", dataset=reference, suite=SUITE)

    run = run_dag(dag)

    assert run.states == {"validate": "failed"}
    assert "was expected; the content changed" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": {"name": "s", "rules": []}}, "a suite without rules shows nothing"),
        ({"suite": "nothing.yaml"}, "suite: there is no file at"),
        ({"suite": 7}, "suite: 7 is not accepted; expected a mapping, or the path of a YAML file"),
        ({"backend": "spark"}, "backend: 'spark' is not accepted; expected one of 'great_expectations', 'pandera'"),
        ({"on_fail": "branch"}, "pass_task_ids: [] is not accepted; expected ids of tasks or task groups of this DAG"),
        ({"on_fail": "branch", "pass_task_ids": "nobody"}, "pass_task_ids: ['nobody'] is not accepted"),
        ({"on_fail": "warn", "fail_task_ids": "mend"}, "nothing with on_fail='warn'; only 'branch' follows it"),
        (
            {"on_fail": "branch", "pass_task_ids": "validate", "fail_task_ids": ["validate"]},
            "fail_task_ids: ['validate'] is not accepted; expected other tasks than pass_task_ids",
        ),
        (
            {"on_fail": "ignore"},
            "on_fail: 'ignore' is not accepted; expected one of 'fail', 'warn', 'quarantine', 'branch'",
        ),
        (
            {
                "suite": {
                    "name": "s",
                    "rules": [{"type": "expect_column_values_to_be_unik", "kwargs": {"column": "temp"}}],
                }
            },
            "did you mean 'expect_column_values_to_be_unique'?",
        ),
    ],
)
def test_wrong_arguments_fail_with_their_reason(validate, capsys, arguments, message):
    run = validate(flights(), **arguments)

    assert run.states["validate"] == "failed"
    assert message in "".join(capsys.readouterr())


@pytest.mark.parametrize("backend", ["great_expectations", "pandera"])
def test_a_partitioned_folder_in_an_object_store_is_one_dataset(run_dag, monkeypatch, backend):
    attach("memory", fs=MemoryFileSystem())
    root = f"memory://bucket-{uuid.uuid4().hex}"
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", f"{root}/root")
    store = ArtifactStore(root)
    for part in range(2):
        file = io.BytesIO()
        flights().iloc[part * 100 : part * 100 + 100].to_parquet(file)
        store.write_bytes(file.getvalue(), "data", f"day={part}", "part.parquet")
    with DAG("partitions", schedule=None) as dag:
        taken = SnapshotDatasetOperator(task_id="snapshot", uri=f"{root}/data")
        ValidateDataOperator(task_id="validate", dataset=taken.output, suite=SUITE, backend=backend)

    run = run_dag(dag)

    found = run.xcom("validate")
    assert (run.state, found["verdict"], found["summary"]["rows"]) == ("success", "pass", 200)
    assert found["dataset"]["uri"] == f"{root}/data"
    assert list(found["dataset"]["columns"]) == ["flight_id", "dep_delay", "temp"]


def test_a_condition_that_selects_no_row_is_no_quiet_pass(validate, capsys):
    condition = {"row_condition": 'col("temp") > 1000', "condition_parser": "great_expectations"}
    rule = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "flight_id"} | condition}

    alone = validate(flights(), suite={"name": "flights", "rules": [rule]})
    among = validate(flights(), suite={"name": "flights", "rules": [*RULES, rule]})

    assert (alone.states["validate"], alone.xcom("validate")["verdict"]) == ("failed", "error")
    assert (among.states["validate"], among.xcom("validate")["verdict"]) == ("success", "warn")
    assert "flight_id: values to be unique: the rule's condition selects no row" in "".join(capsys.readouterr())


def test_a_suite_file_may_lie_beside_the_dag(validate, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps(SUITE))

    assert validate(flights(), suite=str(path)).xcom("validate")["verdict"] == "pass"


def test_a_suite_file_that_is_no_yaml_says_so(validate, tmp_path, capsys):
    path = tmp_path / "suite.yaml"
    path.write_text("name: [")

    assert validate(flights(), suite=str(path)).states["validate"] == "failed"
    assert "a YAML file; it is not readable" in "".join(capsys.readouterr())


# ---- quarantine


@pytest.fixture
def quarantine(run_dag, tmp_path, artifact_root):
    """Snapshot a frame, set bad rows aside, and validate what goes on once more."""

    def run(frame, *, to="rows.parquet", **arguments):
        path = tmp_path / to
        frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
        with DAG("quarantine", schedule=None) as dag:
            taken = SnapshotDatasetOperator(
                task_id="snapshot", uri=str(path), partition="2013-03", format=path.suffix.removeprefix(".")
            )
            checked = ValidateDataOperator(
                task_id="validate",
                dataset=taken.output,
                on_fail="quarantine",
                **({"suite": SUITE} | arguments),
            )
            ValidateDataOperator(task_id="again", dataset=checked.output["dataset"], suite=SUITE)
        return run_dag(dag)

    return run


def spoilt():
    frame = flights()
    frame.loc[[3, 7], "dep_delay"] = 99_999.0
    frame.loc[[7, 9], "flight_id"] = "f0"  # now rows 0, 7 and 9 have the same id
    return frame


@pytest.mark.parametrize("to", ["rows.parquet", "rows.csv"])
def test_bad_rows_go_aside_with_their_rules_and_good_rows_go_on(quarantine, artifact_root, to):
    run = quarantine(spoilt(), to=to)

    found, store = run.xcom("validate"), ArtifactStore(f"file://{artifact_root}")
    good, aside = found["dataset"], found["quarantine"]
    assert (run.states["validate"], found["verdict"]) == ("success", "fail")
    assert (run.states["again"], run.xcom("again")["dataset"]) == ("success", good)
    assert {key: aside[key] for key in ("rows", "good_rows", "bad_rows", "verdict")} == {
        "rows": 200,
        "good_rows": 196,
        "bad_rows": 4,
        "verdict": "pass",
    }
    assert aside["broken"] == {
        "rules[0] flight_id: values to be unique": 3,
        "rules[1] dep_delay: values to be between": 2,
    }
    assert aside["source"] == run.xcom("snapshot")
    assert (good["rows"], good["partition"], good["format"]) == (196, "2013-03", to.split(".")[1])
    assert good["digest"] not in {aside["source"]["digest"], aside["bad"]["digest"]}

    read = pd.read_csv if to.endswith("csv") else pd.read_parquet
    bad = read(aside["bad"]["uri"].removeprefix("file://"))
    assert list(bad["_row"]) == [0, 3, 7, 9]
    rules = [one.split("; ") if isinstance(one, str) else list(one) for one in bad["_broken_rules"]]
    assert rules[2] == list(aside["broken"])
    together = pd.concat([read(good["uri"].removeprefix("file://")), bad[["flight_id", "dep_delay", "temp"]]])
    assert sorted(together["dep_delay"]) == sorted(spoilt()["dep_delay"])

    first, second, third = store.read_evidence("flights")
    assert [one.verdict.value for one in (first, second, third)] == ["fail", "pass", "pass"]
    assert first.notes["quarantine"]["good_rows"] + first.notes["quarantine"]["bad_rows"] == 200
    assert second.references["dataset"]["digest"] == good["digest"]
    report = store.read_bytes(found["report_uri"]).decode()
    assert "<b>196</b> good rows" in report
    assert "<b>4</b> bad rows" in report


def test_the_same_rows_go_to_the_same_place_again(quarantine):
    first, second = quarantine(spoilt()).xcom("validate"), quarantine(spoilt()).xcom("validate")

    assert first["dataset"] == second["dataset"]
    assert first["quarantine"] == second["quarantine"]


def test_sound_data_go_on_as_they_are(quarantine):
    run = quarantine(flights())

    found = run.xcom("validate")
    assert found["dataset"] == run.xcom("snapshot")
    assert (found["quarantine"]["good_rows"], found["quarantine"]["bad_rows"]) == (200, 0)


def test_rows_that_only_warn_stay_unless_asked_for(quarantine):
    frame = flights()
    frame.loc[frame.index % 10 < 3, "temp"] = None

    kept, asked = quarantine(frame).xcom("validate"), quarantine(frame, quarantine_warnings=True).xcom("validate")

    assert (kept["verdict"], kept["dataset"]["rows"], kept["quarantine"]["bad_rows"]) == ("warn", 200, 0)
    assert (asked["verdict"], asked["dataset"]["rows"], asked["quarantine"]["bad_rows"]) == ("warn", 140, 60)


@pytest.mark.parametrize(
    ("frame", "rules", "said"),
    [
        (
            spoilt(),
            [*RULES, {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1000}}],
            "Quarantine: row count to be between: this rule is about the table, there are no rows to set aside for it",
        ),
        (
            spoilt(),
            [*RULES, {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 198}}],
            "4 bad rows were set aside, but the good rows fail as well: row count to be between: broken; observed 196",
        ),
        (
            flights().assign(dep_delay=99_999.0),
            RULES,
            "Quarantine: 200 of 200 rows break a rule, no good row is left",
        ),
        (
            flights().assign(dep_delay=[99_999.0] * 101 + [0.0] * 99),
            RULES,
            "101 of 200 rows break a rule, which is more than max_bad_share=0.5 allows to set aside",
        ),
        (spoilt().drop(columns="temp"), RULES, "could not be evaluated: the column 'temp' is missing"),
    ],
)
def test_what_cannot_be_mended_by_setting_rows_aside_fails(quarantine, capsys, frame, rules, said):
    run = quarantine(frame, suite={"name": "flights", "rules": rules})

    assert (run.states["validate"], run.states["again"]) == ("failed", "upstream_failed")
    assert said in "".join(capsys.readouterr())


def test_good_and_bad_rows_may_lie_in_an_object_store(run_dag, tmp_path, monkeypatch):
    attach("memory", fs=MemoryFileSystem())
    root = f"memory://bucket-{uuid.uuid4().hex}/root"
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", root)
    for part in range(2):
        (tmp_path / "in" / f"day={part}").mkdir(parents=True)
        spoilt().iloc[part * 100 : part * 100 + 100].to_parquet(tmp_path / "in" / f"day={part}" / "part.parquet")
    with DAG("remote", schedule=None) as dag:
        taken = SnapshotDatasetOperator(task_id="snapshot", uri=str(tmp_path / "in"))
        ValidateDataOperator(
            task_id="validate", dataset=taken.output, suite={**SUITE, "backend": "pandera"}, on_fail="quarantine"
        )

    found, store = run_dag(dag).xcom("validate"), ArtifactStore(root)

    good, bad = (decode(DatasetRef, one) for one in (found["dataset"], found["quarantine"]["bad"]))
    assert good.uri.startswith(root)
    assert (good.rows, bad.rows, found["quarantine"]["verdict"]) == (196, 4, "pass")
    assert [len(pd.read_parquet(store.localize(one))) for one in (good, bad)] == [196, 4]


# ---- pandera


@pytest.mark.parametrize("arguments", [{"suite": {**SUITE, "backend": "pandera"}}, {"backend": "pandera"}])
def test_pandera_takes_the_same_suite(quarantine, artifact_root, arguments):
    pytest.importorskip("pandera")

    run = quarantine(spoilt(), **arguments)

    found = run.xcom("validate")
    (first, *_) = ArtifactStore(f"file://{artifact_root}").read_evidence("flights")
    assert (run.state, found["verdict"], found["dataset"]["rows"]) == ("success", "fail", 196)
    assert first.policy["backend"] == "pandera"
    assert "pandera" in first.versions
    assert "great-expectations" not in first.versions


# ---- branch


@pytest.mark.parametrize(
    ("frame", "states"),
    [
        (flights(), {"validate": "success", "train": "success", "mend": "skipped", "join": "success"}),
        (spoilt(), {"validate": "success", "train": "skipped", "mend": "success", "join": "success"}),
        (
            flights().drop(columns="temp"),
            {"validate": "failed", "train": "upstream_failed", "mend": "upstream_failed", "join": "upstream_failed"},
        ),
    ],
)
def test_a_branch_follows_the_verdict_but_no_error(run_dag, tmp_path, artifact_root, frame, states):
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import TaskGroup

    frame.to_parquet(tmp_path / "rows.parquet")
    with DAG("branch", schedule=None) as dag:
        taken = SnapshotDatasetOperator(task_id="snapshot", uri=str(tmp_path / "rows.parquet"))
        checked = ValidateDataOperator(
            task_id="validate",
            dataset=taken.output,
            suite=SUITE,
            on_fail="branch",
            pass_task_ids="train",
            fail_task_ids=["mending"],
        )
        with TaskGroup("mending", prefix_group_id=False) as mending:
            ValidateDataOperator(task_id="mend", dataset=checked.output["dataset"], suite=SUITE, on_fail="warn")
        train = EmptyOperator(task_id="train")
        checked >> [train, mending] >> EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")

    run = run_dag(dag)

    assert run.states == {"snapshot": "success", **states}
    assert run.xcom("validate")["verdict"] in {"pass", "fail", "error"}
