"""Values for tests of the chart."""

from __future__ import annotations

from typing import Any

DIGEST = "sha256:" + "0" * 64


def server(name: str = "flights-v3", **changes: Any) -> dict[str, Any]:
    folder = "/srv/mlops/models/flights/3"
    return {
        "name": name,
        "modelName": "flights",
        "version": "3",
        "modelDir": folder,
        "digest": DIGEST,
        **changes,
    }


def everything() -> dict[str, Any]:
    """Values that turn on all that the chart can make."""
    return {
        "labels": {"team": "flights"},
        "imagePullSecrets": ["registry"],
        "airflow": {
            "allow": {"warmPods": True, "jobs": True, "trainJobs": True, "rayJobs": True},
            "extraRules": [{"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["get"]}],
        },
        "trainer": {
            "image": {"repository": "registry.example/trainer"},
            "readableSecrets": ["flights-data"],
            "envFrom": [{"secretRef": {"name": "object-storage"}}],
            "tolerations": [{"key": "spot", "operator": "Exists"}],
        },
        "server": {
            "image": {"repository": "registry.example/server", "digest": DIGEST},
            "podDisruptionBudget": {"enabled": True},
            "nodeSelector": {"disk": "ssd"},
            "priorityClassName": "serving",
        },
        "modelServers": [server(), server("flights-v4", version="4", replicas=2)],
        "watchdog": {"enabled": True, "gateway": {"claim": "gateway", "subPath": "live"}},
        "networkPolicies": {
            "trainer": {"egress": [{"ports": [{"port": 5000}]}]},
            "server": {"from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        },
        "monitoring": {"enabled": True, "requireApi": False, "labels": {"release": "prometheus"}},
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Models"}},
    }
