"""Links whose address the running task pushes as soon as it knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink, Context
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow_mlops.evidence import Origin

__all__ = ["PushedLink", "begin_links", "push_link", "report_url", "web_prefix"]

#: Links by task instance that this process has seen from its beginning. Airflow asks for every link when a task ends;
#: to ask Airflow back what was pushed a moment ago would cost a request for each.
_begun: dict[tuple[Any, ...], dict[str, str]] = {}


class PushedLink(BaseOperatorLink):
    """A button whose address stands in the XCom that Airflow reads for it."""

    name = "Link"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the pushed address, empty where there is none.

        Airflow asks at the end of the task and stores the answer under the same key, so the address stays.
        """
        pushed = _begun.get(_identity(ti_key))
        if pushed is not None:
            return pushed.get(self.xcom_key, "")
        return str(XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "")


def begin_links(context: Context) -> None:
    """Say that this process runs the task from its beginning: what it does not push, nobody has pushed."""
    if (ti := context.get("ti")) is not None:
        _begun[_identity(ti)] = {}


def push_link(context: Context, link: PushedLink, url: str) -> None:
    """Show a link now, while the task is still running."""
    ti = context["ti"]
    ti.xcom_push(key=link.xcom_key, value=url)
    pushed = _begun.get(_identity(ti))
    if pushed is not None:
        pushed[link.xcom_key] = url


def _identity(ti: Any) -> tuple[Any, ...]:
    return tuple(getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number"))


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
