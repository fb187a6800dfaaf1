"""Links on tasks: which operator has which, and that they are there while the task still runs."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_mlops import operators
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.record import record
from airflow_mlops.verdict import Verdict

LINKS = {
    "ApproveReleaseOperator": {"Evidence", "Model", "Report"},
    "BuildImageOperator": {"Image"},
    "CanaryRolloutOperator": {"Endpoint", "Evidence", "Model", "Report"},
    "CheckImageOperator": {"Image"},
    "CheckModelServerOperator": {"Endpoint", "Evidence", "Model"},
    "DecideRetrainingOperator": {"Evidence", "Model"},
    "DetectDriftOperator": {"Evidence", "Model"},
    "EvaluateInDockerOperator": {"Image", "Model", "Report"},
    "EvaluateModelOperator": {"Model", "Report"},
    "EvaluateOnKubernetesOperator": {"Image", "Model", "Pod", "Report"},
    "ExplainModelOperator": {"Model", "Report"},
    "ExportToOnnxOperator": {"Model"},
    "ModelCardOperator": {"Evidence", "Model", "Report"},
    "ModelGateOperator": {"Evidence", "Model", "Report"},
    "ProfileDataOperator": {"Report"},
    "PromoteModelOperator": {"Evidence", "MLflow run", "Model"},
    "RegisterModelOperator": {"Evidence", "MLflow run", "Model"},
    "RollBackModelOperator": {"Evidence", "MLflow run", "Model"},
    "RunInWarmPodOperator": {"Pod"},
    "ShadowRolloutOperator": {"Evidence", "Model", "Report"},
    "SnapshotDatasetOperator": {"Release"},
    "StartModelServerOperator": {"Endpoint", "Model"},
    "StartWarmPodOperator": {"Image", "Pod"},
    "StopModelServersOperator": {"Model"},
    "StopWarmPodOperator": {"Pod"},
    "TrainInDockerOperator": {"Image", "MLflow run", "Model"},
    "TrainLocallyOperator": {"MLflow run", "Model"},
    "TrainOnKubernetesOperator": {"Image", "MLflow run", "Model", "Pod"},
    "TrainWithKubeflowOperator": {"Image", "MLflow run", "Model"},
    "TrainWithRayOperator": {"Image", "MLflow run", "Model"},
    "ValidateDataOperator": {"Evidence", "Report"},
    "WriteImageBillOperator": {"Image"},
}


@pytest.mark.parametrize("name", operators.__all__)
def test_every_operator_declares_its_links(name):
    assert {link.name for link in getattr(operators, name).operator_extra_links} == LINKS[name]


class Looking(operators.ModelGateOperator):
    """Stands in for what a person sees while the task is at work: the XComs that the web server reads."""

    def execute(self, context):
        from airflow_mlops.hooks.artifacts import ArtifactStore

        def seen() -> dict[str, str]:
            ti = context["ti"]
            found = {one.name: ti.xcom_pull(task_ids=ti.task_id, key=one.xcom_key) for one in self.operator_extra_links}
            return {name: address for name, address in found.items() if address}

        before = seen()
        record(
            context,
            ArtifactStore.from_config(),
            decision="gate",
            subject=self.model_name,
            verdict=Verdict.PASS,
            checks=(),
        )
        return {"begin": before, "decided": seen()}


def test_links_are_there_while_the_task_runs_and_stay(run_dag, artifact_root):
    with DAG("links", schedule=None) as dag:
        Looking(task_id="gate", evaluation={}, policy={}, model_name="late flights/v2")
    run = run_dag(dag)
    found = run.xcom("gate")
    model = "/mlops/models/late%20flights%2Fv2"
    assert found["begin"] == {"Model": model}
    assert found["decided"] == {"Model": model, "Evidence": f"{model}#decision-1"}
    # What stays is what the web server shows afterwards.
    assert run.xcom("gate", key="_link_EvidenceLink") == f"{model}#decision-1"
    assert run.xcom("gate", key="_link_ReportLink") == ""


def test_pods_and_images_are_shown_where_the_options_say(run_dag, artifact_root, monkeypatch):
    from airflow_mlops.links.pages import ImageLink, PodLink, show_image, show_pod

    monkeypatch.setenv("AIRFLOW__MLOPS__POD_URL", "https://pods.example/{namespace}/{name}")
    monkeypatch.setenv("AIRFLOW__MLOPS__IMAGE_URL", "https://images.example/{repository}?tag={tag}&digest={digest}")

    class Running(MLOpsOperator):
        operator_extra_links = (PodLink(), ImageLink())

        def execute(self, context):
            show_pod(context, "ml", "train-1")
            show_image(context, "registry.example:5000/team/trainer:2@sha256:ab")

    with DAG("links_places", schedule=None) as dag:
        Running(task_id="run")
    run = run_dag(dag)
    assert run.xcom("run", key="_link_PodLink") == "https://pods.example/ml/train-1"
    image = "https://images.example/registry.example:5000/team/trainer?tag=2&digest=sha256:ab"
    assert run.xcom("run", key="_link_ImageLink") == image


def test_without_the_options_there_is_no_address(run_dag, artifact_root):
    from airflow_mlops.links.pages import PodLink, show_pod

    class Silent(MLOpsOperator):
        operator_extra_links = (PodLink(),)

        def execute(self, context):
            show_pod(context, "ml", "train-1")

    with DAG("links_none", schedule=None) as dag:
        Silent(task_id="run")
    assert run_dag(dag).xcom("run", key="_link_PodLink") == ""
