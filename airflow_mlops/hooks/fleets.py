"""The fleet of model servers that a gateway's connection describes, where they are Deployments of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.rollout.ports import ServerFleet

__all__ = ["open_fleet"]


def open_fleet(client: Any, given: Any, *, namespace: str, where: str) -> ServerFleet:
    """Return the fleet of a namespace.

    :param client: ``kubernetes.client.ApiClient``
    :param given: fields of :class:`~airflow_mlops.adapters.serving.fleet_settings.FleetSettings`, at least ``image``
    :param namespace: the gateway's, unless ``given`` names another
    :param where: what errors call it, for example ``connection 'model_gateway_default', extra.serving``
    :raises SpecificationError: naming what is wrong in it
    """
    from airflow_mlops.adapters.serving.deployments import DeploymentFleet
    from airflow_mlops.adapters.serving.fleet_settings import FleetSettings

    if not isinstance(given, Mapping):
        raise SpecificationError(where, given, "how model servers run: a mapping with at least their image")
    return DeploymentFleet(client, decode(FleetSettings, {"namespace": namespace, **given}, where=where))
