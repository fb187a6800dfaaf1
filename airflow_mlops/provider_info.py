"""Metadata by which Airflow discovers this provider; imports nothing, because Airflow reads it in every process."""

from __future__ import annotations

from typing import Any

from airflow_mlops import __version__

__all__ = ["get_provider_info"]

_INTEGRATION = "MLOps"
_OPERATORS = (
    "approval",
    "datasets",
    "docker",
    "docker_evaluation",
    "evaluation",
    "explanation",
    "gate",
    "image_bills",
    "image_checks",
    "images",
    "kubernetes",
    "kubernetes_evaluation",
    "kubeflow",
    "model_card",
    "monitoring",
    "onnx_export",
    "pod_start",
    "profiling",
    "ray",
    "registration",
    "registry",
    "rollout",
    "serving",
    "shadow",
    "training",
    "validation",
    "warm_step",
)
_TRIGGERS = (
    "data",
    "model_version",
    "model_version_wait",
    "rollout",
    "rollout_end",
    "serving",
    "shadow",
    "training",
    "training_jobs",
)


def get_provider_info() -> dict[str, Any]:
    """Describe connections, options, commands and modules to Airflow's provider manager."""
    return {
        "package-name": "airflow-mlops",
        "name": "MLOps",
        "description": "Takes machine-learning models from data to production and back.",
        "versions": [__version__],
        "connection-types": [_mlflow_connection(), _gateway_connection()],
        "config": {"mlops": {"description": "Options of airflow-mlops.", "options": _options()}},
        "task-decorators": [
            {"name": name, "class-name": f"airflow_mlops.operators.decorators.{name}_task"}
            for name in ("gate", "train", "validate")
        ],
        "cli": ["airflow_mlops.cli.definition.get_cli_commands"],
        "extra-links": [
            "airflow_mlops.links.endpoint.EndpointLink",
            "airflow_mlops.links.mlflow.MLflowRunLink",
            *(f"airflow_mlops.links.pages.{name}Link" for name in ("Evidence", "Image", "Model", "Pod", "Run")),
            "airflow_mlops.links.report.ReportLink",
        ],
        "notifications": ["airflow_mlops.notifications.rollout.RolloutNotifier"],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://github.com/airflow-mlops/airflow-mlops#readme",
                "tags": ["software"],
            }
        ],
        "operators": _modules("operators", *_OPERATORS),
        "hooks": _modules("hooks", "gateway", "mlflow"),
        "sensors": _modules("sensors", "data", "model_version", "rollout", "training"),
        "triggers": _modules("triggers", *_TRIGGERS),
    }


def _modules(package: str, *names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _INTEGRATION, "python-modules": [f"airflow_mlops.{package}.{name}" for name in names]}]


def _mlflow_connection() -> dict[str, Any]:
    return {
        "connection-type": "mlflow",
        "hook-class-name": "airflow_mlops.hooks.mlflow.MLflowHook",
        "hook-name": "MLflow",
        "conn-fields": {},
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {
                "host": "Tracking URI",
                "login": "User (empty: the password is a bearer token)",
                "password": "Password or token",
            },
            "placeholders": {"host": "https://mlflow.example.com", "login": "", "password": ""},
        },
    }


def _gateway_connection() -> dict[str, Any]:
    text = {"type": ["string", "null"]}
    return {
        "connection-type": "model_gateway",
        "hook-class-name": "airflow_mlops.hooks.gateway.ModelGatewayHook",
        "hook-name": "Model gateway",
        "conn-fields": {
            "admin_url": {"label": "Envoy admin URL", "schema": text},
            "directory": {"label": "Folder of routes and rollouts", "schema": text},
            "serving_directory": {"label": "Folder of model servers", "schema": text},
            "kind": {"label": "Kind of gateway; envoy if empty", "schema": text},
            "namespace": {"label": "Namespace of routes and model servers", "schema": text},
            "kubernetes_conn_id": {"label": "Kubernetes connection", "schema": text},
            "kubeconfig": {"label": "Path of a kubeconfig", "schema": text},
            "router": {"label": "Options of the router, as JSON", "schema": text},
            "serving": {"label": "How model servers run in the cluster, as JSON", "schema": text},
            "metrics": {"label": "What counts: envoy, prometheus, or JSON", "schema": text},
        },
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "password"],
            "relabeling": {"host": "Inference host", "port": "Inference port"},
            "placeholders": {
                "host": "127.0.0.1",
                "port": "8100",
                "admin_url": "http://127.0.0.1:8101",
                "directory": "/srv/mlops/gateway",
                "serving_directory": "/srv/mlops/serving",
                "kind": "gateway_api",
                "namespace": "models",
                "kubernetes_conn_id": "kubernetes_default",
                "router": '{"rule": "predict"}',
                "serving": '{"image": "registry.example.com/mlops-server:1"}',
                "metrics": "prometheus",
            },
        },
    }


def _options() -> dict[str, Any]:
    return {
        "artifact_root": _option(
            "URI under which snapshots, models, reports and evidence are kept. Any file system that Airflow's object "
            "storage reaches; a connection id may stand before the bucket. Every worker must see the same content.",
            "s3://aws_default@my-bucket/mlops",
        ),
        "model_python": _option(
            "Interpreter of the Python environment in which models are trained and evaluated. Never Airflow's own: "
            "models bring libraries whose versions Airflow must not depend on.",
            "/srv/envs/model/bin/python",
        ),
        "local_home": _option(
            "Folder of the embedded stack that `airflow mlops local` starts.",
            "/srv/mlops",
        ),
        "pod_url": _option(
            "Where a pod is shown, for the link on tasks that run one; {namespace} and {name} are filled in.",
            "https://dashboard.example.com/#/pod/{namespace}/{name}",
        ),
        "image_url": _option(
            "Where an image is shown, for the link on tasks that make or run one; {repository}, {tag} and {digest} are "
            "filled in.",
            "https://registry.example.com/repository/{repository}?tag={tag}",
        ),
        "evidence_key": _option(
            "Path of the private key that signs evidence, PEM without a passphrase: Ed25519 or on a NIST curve. Empty "
            "signs nothing. Every process that runs tasks or triggers must be able to read it.",
            "/run/secrets/evidence.pem",
        ),
        "backend": _option(
            "Where training and evaluation run if their DAG leaves it open: local, docker or kubernetes; local if this "
            "is empty. The environment variable MLOPS_BACKEND comes first.",
            "kubernetes",
        ),
        "docker": _option(
            "Settings of the backend docker, a JSON object: image (required), docker_resources, network, user and the "
            "like. The environment variable MLOPS_DOCKER comes first.",
            '{"image": "mlops-trainer:1", "docker_resources": {"memory": "2Gi"}}',
        ),
        "kubernetes": _option(
            "Settings of the backend kubernetes, a JSON object: image (required), namespace, artifacts, pod_resources, "
            "kubernetes_conn_id and the like. The environment variable MLOPS_KUBERNETES comes first.",
            '{"image": "mlops-trainer:1", "namespace": "ml", '
            '"artifacts": {"mount_path": "/srv/mlops", "claim": "mlops-artifacts"}}',
        ),
    }


def _option(description: str, example: str) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": "string",
        "example": example,
        "default": None,
    }
