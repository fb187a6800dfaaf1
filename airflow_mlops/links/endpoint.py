"""To the model's endpoint."""

from __future__ import annotations

from airflow_mlops.links.base import PushedLink

__all__ = ["EndpointLink"]


class EndpointLink(PushedLink):
    """Opens the endpoint that serves the model."""

    name = "Endpoint"
