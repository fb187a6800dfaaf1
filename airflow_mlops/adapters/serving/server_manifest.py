"""What a model server looks like in a cluster: a Deployment and a Service, in the shape that the Helm chart gives."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
from airflow_mlops.codec import canonical_json, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.serving import ServerSpec
from airflow_mlops.training.pods import label_value

__all__ = [
    "CONTAINER",
    "MANAGER",
    "SERVER_LABEL",
    "SPEC_ANNOTATION",
    "TEMPLATE_ANNOTATION",
    "deployment",
    "service",
]

Json = dict[str, Any]

CONTAINER = "server"
#: Value of the label ``app.kubernetes.io/managed-by`` at everything that a fleet made.
MANAGER = "airflow-mlops"
SERVER_LABEL = "airflow-mlops/server"
#: The :class:`~airflow_mlops.rollout.serving.ServerSpec` that was asked for, as JSON.
SPEC_ANNOTATION = "mlops.airflow.apache.org/spec"
#: What the fleet's settings made of it, without the number of replicas, as JSON.
TEMPLATE_ANNOTATION = "mlops.airflow.apache.org/template"

# Kubernetes' names of Services begin with a letter (RFC 1035), those of most other things need not.
_SERVICE_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_PREDICTIONS = "/predictions"


def deployment(spec: ServerSpec, settings: FleetSettings) -> Json:
    """Return the Deployment of a server.

    :raises SpecificationError: if the name is none for a Service, or the model does not lie where the pods see it
    """
    if not _SERVICE_NAME.fullmatch(spec.name):
        raise SpecificationError(
            "ServerSpec.name", spec.name, "a name that begins with a letter, as Services ask for it"
        )
    template = _template(spec, settings)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            "labels": _labels(spec, settings),
            "annotations": {
                SPEC_ANNOTATION: canonical_json(encode(spec)),
                TEMPLATE_ANNOTATION: canonical_json(template),
            },
        },
        "spec": {
            "replicas": settings.replicas,
            "revisionHistoryLimit": 3,
            "minReadySeconds": settings.settle_seconds,
            # Capacity first: an old pod goes once a new one is ready.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": _selector(spec, settings)},
            "template": template,
        },
    }


def service(spec: ServerSpec, settings: FleetSettings, owner: Mapping[str, Any]) -> Json:
    """Return the Service of a server.

    :param owner: the stored Deployment; when that is deleted, Kubernetes deletes the Service
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            "labels": _labels(spec, settings),
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": spec.name,
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {
            "selector": _selector(spec, settings),
            "ports": [{"name": "http", "port": _port(spec, settings), "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _port(spec: ServerSpec, settings: FleetSettings) -> int:
    return settings.port if spec.port is None else spec.port


def _selector(spec: ServerSpec, settings: FleetSettings) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "airflow-mlops",
        "app.kubernetes.io/instance": settings.instance,
        "app.kubernetes.io/component": "server",
        SERVER_LABEL: spec.name,
    }


def _labels(spec: ServerSpec, settings: FleetSettings) -> dict[str, str]:
    return {**settings.labels, **_selector(spec, settings), "app.kubernetes.io/managed-by": MANAGER}


def _template(spec: ServerSpec, settings: FleetSettings) -> Json:
    labels = {
        **settings.labels,
        **_selector(spec, settings),
        "airflow-mlops/model-name": label_value(spec.model_name),
        "airflow-mlops/model-version": label_value(spec.version),
    }
    volumes, mounts = _volumes(settings)
    pod: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": settings.drain_seconds + 25,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.group,
            "fsGroup": settings.group,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, settings) | {"volumeMounts": mounts}],
        "volumes": volumes,
        "serviceAccountName": settings.service_account,
        "imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(one) for one in settings.tolerations],
        "priorityClassName": settings.priority_class,
    }
    metadata: Json = {"labels": labels}
    if settings.pod_annotations:
        metadata["annotations"] = dict(settings.pod_annotations)
    return {"metadata": metadata, "spec": {name: value for name, value in pod.items() if value not in (None, [], {})}}


def _container(spec: ServerSpec, settings: FleetSettings) -> Json:
    ready = {"httpGet": {"path": "/v2/health/ready", "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 2}
    live = {"httpGet": {"path": "/v2/health/live", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5}
    container: Json = {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": list(settings.command),
        "args": _arguments(spec, settings),
        "env": [{"name": name, "value": value} for name, value in sorted(settings.env.items())],
        "ports": [{"name": "http", "containerPort": _port(spec, settings), "protocol": "TCP"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.group,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {name: dict(amounts) for name, amounts in settings.resources.items()},
        # It listens once its model is loaded; until then nothing else is asked.
        "startupProbe": {**ready, "failureThreshold": (settings.startup_seconds + 1) // 2},
        "readinessProbe": {**ready, "failureThreshold": 3},
        "livenessProbe": {**live, "failureThreshold": 6},
        # The pod's status then holds why a server ended, for whoever may not read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.drain_seconds:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(settings.drain_seconds)]}}}
    return {name: value for name, value in container.items() if value not in ([], {})}


def _arguments(spec: ServerSpec, settings: FleetSettings) -> list[str]:
    arguments = [
        f"--name={spec.name}",
        f"--model-name={spec.model_name}",
        f"--version={spec.version}",
        f"--model-dir={_model_directory(spec.model.uri, settings)}",
        f"--digest={spec.model.digest}",
        "--host=0.0.0.0",
        f"--port={_port(spec, settings)}",
        f"--prediction-log={_PREDICTIONS}",
        f"--batch-window-ms={settings.batch_window_ms:g}",
    ]
    if spec.loading is not None:
        arguments.append(f"--loading={canonical_json(encode(spec.loading))}")
    if spec.fault_error_rate:
        arguments.append(f"--fault-error-rate={spec.fault_error_rate:g}")
    if spec.fault_delay_ms:
        arguments.append(f"--fault-delay-ms={spec.fault_delay_ms}")
    # Kubernetes puts variables in place of $(NAME); $$ is a dollar sign.
    return [argument.replace("$(", "$$(") for argument in arguments]


def _model_directory(uri: str, settings: FleetSettings) -> str:
    parts = urllib.parse.urlsplit(uri)
    path = PurePosixPath(urllib.request.url2pathname(parts.path) if parts.scheme == "file" else uri)
    if parts.scheme not in ("", "file") or not path.is_absolute():
        raise SpecificationError("ServerSpec.model.uri", uri, "a directory that the pods see, as file://… or a path")
    if settings.artifacts is not None and not path.is_relative_to(settings.artifacts.mount_path):
        raise SpecificationError(
            "ServerSpec.model.uri",
            uri,
            f"a directory below serving.artifacts.mount_path, {settings.artifacts.mount_path}",
        )
    return str(path)


def _volumes(settings: FleetSettings) -> tuple[list[Json], list[Json]]:
    volumes: list[Json] = [{"name": "scratch", "emptyDir": {"sizeLimit": settings.scratch}}]
    mounts: list[Json] = [{"name": "scratch", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    store, folder = settings.artifacts, settings.prediction_log
    if store is not None:
        volumes.append(store.source("artifacts"))
        # Models are read only; the log, on the same volume, is not.
        mounts.append(store.mount("artifacts") | {"readOnly": True})
    if settings.logs_to_store and store is not None:
        within = folder if not store.sub_path else f"{store.sub_path}/{folder}"
        mounts.append({"name": "artifacts", "mountPath": _PREDICTIONS, "subPath": within})
    else:
        volumes.append({"name": "predictions", "emptyDir": {"sizeLimit": "1Gi"}})
        mounts.append({"name": "predictions", "mountPath": _PREDICTIONS})
    return volumes, mounts
