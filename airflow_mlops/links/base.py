"""Links whose address the running task pushes as soon as it knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow_mlops.evidence import Origin

__all__ = ["PushedLink", "push_link", "report_url", "web_prefix"]


class PushedLink(BaseOperatorLink):
    """A button whose address stands in the XCom that Airflow reads for it."""

    name = "Link"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the pushed address, empty where there is none.

        Airflow asks at the end of the task and stores the answer under the same key, so the address stays.
        """
        return str(XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "")


def push_link(context: Context, link: PushedLink, url: str) -> None:
    """Show a link now, while the task is still running."""
    context["ti"].xcom_push(key=link.xcom_key, value=url)


def web_prefix() -> str:
    """Return the path below which Airflow's web server is reached; empty for its root."""
    from airflow.sdk.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def report_url(who: Origin, name: str) -> str:
    """Address of a report on the Airflow web server, without its host.

    :param who: the task instance that wrote the report
    :param name: the name that it was written with
    """
    parts = (who.dag_id, who.run_id, who.task_id, str(who.map_index), name)
    return f"{web_prefix()}/mlops/reports/" + "/".join(quote(part, safe="") for part in parts)
