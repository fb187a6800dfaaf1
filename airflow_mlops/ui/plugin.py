"""The plugin that Airflow loads through its entry point, in every process; the web application only where it serves."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

__all__ = ["MLOpsPlugin"]


class MLOpsPlugin(AirflowPlugin):
    """Shows models in the navigation, a release on its DAG run, and reports and rollouts on their task instance.

    Airflow drops the whole plugin if one ``destination`` is unknown to it.
    """

    name = "mlops"
    external_views = [  # noqa: RUF012 - declared by Airflow without ClassVar
        {
            "name": "Models",
            "href": "mlops/models",
            "url_route": "mlops-models",
            "destination": "nav",
            "nav_top_level": True,
            "icon": "mlops/assets/models.svg",
            "icon_dark_mode": "mlops/assets/models-dark.svg",
        },
        {
            "name": "Release",
            "href": "mlops/runs/{DAG_ID}/{RUN_ID}",
            "url_route": "mlops-run",
            "destination": "dag_run",
        },
        {
            "name": "Evidence",
            "href": "mlops/tasks/{DAG_ID}/{RUN_ID}/{TASK_ID}/{MAP_INDEX}",
            "url_route": "mlops-task",
            "destination": "task_instance",
        },
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application; a property, because scheduler and command line load plugins too and need no FastAPI."""
        from airflow_mlops.ui.app import create_app

        return [{"app": create_app(), "url_prefix": "/mlops", "name": "MLOps"}]
