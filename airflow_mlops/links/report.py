"""To a report on the Airflow web server."""

from __future__ import annotations

from airflow.sdk import Context

from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.links.base import PushedLink, push_link, report_url

__all__ = ["ReportLink", "publish_report"]


class ReportLink(PushedLink):
    """Opens the report that the task wrote."""

    name = "Report"


def publish_report(context: Context, store: ArtifactStore, name: str, html: str) -> str:
    """Keep a self-contained HTML page, show its link on the task, return its URI."""
    uri = store.write_report(context, name, html)
    push_link(context, ReportLink(), report_url(origin(context), name))
    return uri
