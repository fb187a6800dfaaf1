"""The plugin that Airflow loads through its entry point, in every process; the web application only where it serves."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

__all__ = ["MLOpsPlugin"]


class MLOpsPlugin(AirflowPlugin):
    """Serves reports, and shows those of a DAG run in a tab of its page."""

    name = "mlops"
    external_views = [  # noqa: RUF012 - declared by Airflow without ClassVar
        {
            "name": "Reports",
            "href": "mlops/reports/{DAG_ID}/{RUN_ID}",
            "url_route": "mlops-reports",
            "destination": "dag_run",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application; a property, because scheduler and command line load plugins too and need no FastAPI."""
        from airflow_mlops.ui.reports import create_app

        return [{"app": create_app(), "url_prefix": "/mlops", "name": "MLOps reports"}]
