"""The helper that other tests rely on."""

from __future__ import annotations

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException


def test_a_run_shows_states_and_values(run_dag):
    with DAG("helper_run", schedule=None) as dag:

        @task
        def one() -> int:
            return 1

        @task
        def refuse(value: int) -> None:
            raise AirflowFailException(f"refused {value}")

        refuse(one())

    run = run_dag(dag)

    assert run.state == "failed"
    assert run.states == {"one": "success", "refuse": "failed"}
    assert run.xcom("one") == 1


def test_mapped_tasks_have_their_index(run_dag):
    with DAG("helper_mapped", schedule=None) as dag:

        @task
        def double(value: int) -> int:
            return 2 * value

        double.expand(value=[1, 2])

    run = run_dag(dag)

    assert run.states == {"double[0]": "success", "double[1]": "success"}
    assert run.xcom("double", map_index=1) == 4
