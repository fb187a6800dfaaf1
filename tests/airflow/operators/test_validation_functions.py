"""Suites and data that functions give, as Airflow's provider for Great Expectations has them."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG

from airflow_mlops.operators.validation import ValidateDataOperator

pytest.importorskip("great_expectations")
pd = pytest.importorskip("pandas")


def frame(rows: int = 200):
    return pd.DataFrame(
        {"flight_id": [f"f{i}" for i in range(rows)], "dep_delay": [float(i % 60) for i in range(rows)]}
    )


def configure_expectations(context):
    """What a user of that provider has."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    return context.suites.add_or_update(
        gx.ExpectationSuite(
            name="flights",
            expectations=[
                gxe.ExpectColumnValuesToBeUnique(column="flight_id", notes="It is the key."),
                gxe.ExpectColumnValuesToBeBetween(column="dep_delay", max_value=50, severity="warning"),
            ],
        )
    )


def one_expectation(context):
    import great_expectations.expectations as gxe

    return gxe.ExpectTableRowCountToBeBetween(min_value=200)


def several_expectations():
    import great_expectations.expectations as gxe

    return [one_expectation(None), gxe.ExpectColumnToExist(column="dep_delay")]


def plain_mapping():
    return {"name": "plain", "rules": [{"type": "expect_column_to_exist", "kwargs": {"column": "dep_delay"}}]}


@pytest.fixture
def validate(run_dag, artifact_root):
    def run(**arguments):
        with DAG("validate_functions", schedule=None) as dag:
            ValidateDataOperator(task_id="validate", **({"dataset": frame, "suite": plain_mapping} | arguments))
        return run_dag(dag)

    return run


@pytest.mark.parametrize(
    ("suite", "verdict", "name", "rules"),
    [
        (configure_expectations, "warn", "flights", 2),
        (one_expectation, "pass", "one_expectation", 1),
        (several_expectations, "pass", "several_expectations", 2),
        (plain_mapping, "pass", "plain", 1),
    ],
)
def test_a_function_may_give_the_suite(validate, artifact_root, suite, verdict, name, rules):
    from airflow_mlops.hooks.artifacts import ArtifactStore

    found = validate(suite=suite).xcom("validate")

    (evidence,) = ArtifactStore(f"file://{artifact_root}").read_evidence(name)
    assert (found["verdict"], found["summary"]["evaluated"]) == (verdict, rules)
    assert len(evidence.policy["rules"]) == rules


def test_a_frame_becomes_a_dataset(validate, artifact_root):
    first, second = validate().xcom("validate"), validate().xcom("validate")

    dataset = first["dataset"]
    assert dataset == second["dataset"]
    assert (dataset["rows"], list(dataset["columns"])) == (200, ["flight_id", "dep_delay"])
    assert pd.read_parquet(dataset["uri"].removeprefix("file://")).equals(frame())


def test_bad_rows_of_a_frame_are_set_aside(validate):
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "dep_delay", "max_value": 58}}

    found = validate(suite={"name": "s", "rules": [rule]}, on_fail="quarantine").xcom("validate")

    assert (found["dataset"]["rows"], found["quarantine"]["bad_rows"]) == (197, 3)


def test_a_batch_definition_is_judged_by_the_library_that_reads_it(validate, tmp_path):
    frame().to_csv(tmp_path / "rows.csv", index=False)

    def configure_batch_definition(context):
        source = context.data_sources.add_pandas_filesystem("files", base_directory=tmp_path)
        asset = source.add_csv_asset("flights")
        return asset.add_batch_definition_path("rows", path="rows.csv")

    def with_parameters(context):
        definition = context.data_sources.add_pandas("memory").add_dataframe_asset("rows")
        return definition.add_batch_definition_whole_dataframe("all"), {"dataframe": frame(7)}

    found = validate(dataset=configure_batch_definition, suite=configure_expectations).xcom("validate")
    given = validate(dataset=with_parameters).xcom("validate")

    assert (found["verdict"], found["summary"]["rows"]) == ("warn", 200)
    assert (found["dataset"]["format"], found["dataset"]["table"]) == ("batch", "files/flights/rows")
    assert given["dataset"]["rows"] == 7


def test_an_empty_frame_is_an_error(validate, capsys):
    run = validate(dataset=lambda: frame(0))

    assert (run.states, run.xcom("validate")["verdict"]) == ({"validate": "failed"}, "error")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": lambda: 7}, "suite: 'int' is not accepted; expected a mapping, an ExpectationSuite"),
        ({"suite": lambda a, b: None}, "expected a function without arguments, or with one: the context"),
        ({"suite": lambda: {"name": "s", "expectations": []}}, "a suite without rules shows nothing"),
        ({"dataset": lambda: 7}, "dataset: 'int' is not accepted; expected a function that returns a frame"),
        (
            {"dataset": lambda: pd.DataFrame({"a": pd.Series([1, "x"], dtype=object)})},
            "dataset: 'DataFrame' is not accepted; expected columns of one type each",
        ),
        ({"suite": lambda: 1 / 0}, "ZeroDivisionError"),
    ],
)
def test_what_a_function_may_not_give(validate, capsys, arguments, message):
    run = validate(**arguments)

    assert run.states == {"validate": "failed"}
    assert message in "".join(capsys.readouterr())


def test_functions_run_when_the_task_runs_and_not_before():
    from airflow.serialization.serialized_objects import DagSerialization

    def never(context):
        raise AssertionError(context)

    with DAG("parse", schedule=None) as dag:
        ValidateDataOperator(task_id="validate", dataset=never, suite=never)
        ValidateDataOperator.partial(task_id="mapped", suite=never).expand(dataset=[{"uri": "a"}])

    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    assert set(DagSerialization.deserialize_dag(document).task_ids) == {"validate", "mapped"}


# ---- suites in files


def own_form(**change) -> dict:
    import great_expectations as gx
    import great_expectations.expectations as gxe

    suite = gx.ExpectationSuite(
        name="own",
        expectations=[
            gxe.ExpectColumnValuesToBeUnique(column="flight_id", description="It is the key."),
            gxe.ExpectColumnMeanToBeBetween(column="dep_delay", min_value=0, max_value=10, severity="info"),
        ],
    )
    return suite.to_json_dict() | change


def test_a_suite_in_the_librarys_own_json_keeps_every_rule(validate, tmp_path):
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(own_form()))

    found = validate(suite=str(path)).xcom("validate")

    assert (found["verdict"], found["summary"]["rules"], found["summary"]["broken"]) == ("pass", 2, 1)
    assert found["failed"][0]["severity"] == "info"
