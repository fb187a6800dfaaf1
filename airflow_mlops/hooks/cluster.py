"""The way to a Kubernetes cluster, by the connection type of Airflow's Kubernetes provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow.sdk.exceptions import AirflowOptionalProviderFeatureException

__all__ = ["ClusterAccess"]


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """Names of what leads to a cluster; no credentials, so that it may travel with a trigger.

    :param conn_id: connection of type ``kubernetes``; None for none
    :param config_file: kubeconfig that worker and triggerer have; None for the connection's or the default one
    :param cluster_context: context in the kubeconfig, None for its current one
    :param in_cluster: whether to use the service account of the pod that asks
    """

    conn_id: str | None = "kubernetes_default"
    config_file: str | None = None
    cluster_context: str | None = None
    in_cluster: bool | None = None

    def hook(self) -> Any:
        """Return Airflow's ``KubernetesHook``.

        :raises AirflowOptionalProviderFeatureException: if the Kubernetes provider is not installed
        """
        return _hooks().KubernetesHook(
            conn_id=self.conn_id,
            config_file=self.config_file,
            cluster_context=self.cluster_context,
            in_cluster=self.in_cluster,
        )

    def async_hook(self) -> Any:
        """Return Airflow's ``AsyncKubernetesHook``, for triggers."""
        return _hooks().AsyncKubernetesHook(
            conn_id=self.conn_id,
            cluster_context=self.cluster_context,
            in_cluster=self.in_cluster,
            # The hook knows this file by the connection only.
            connection_extras={"kube_config_path": self.config_file} if self.config_file else None,
        )


def _hooks() -> Any:
    try:
        from airflow.providers.cncf.kubernetes.hooks import kubernetes
    except ImportError as error:
        raise AirflowOptionalProviderFeatureException(
            "training in a cluster needs the extra: pip install 'airflow-mlops[kubernetes]'"
        ) from error
    return kubernetes
