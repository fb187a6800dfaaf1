"""The pages around the reports: the list of a run's reports, and what to say when there is none."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from airflow_mlops.evidence import Origin
from airflow_mlops.page import render_page

__all__ = ["list_page", "missing_page"]


def list_page(dag_id: str, run_id: str, found: Iterable[tuple[Origin, str]], prefix: str) -> str:
    """List a run's reports.

    :param found: who wrote it, and its name
    :param prefix: address under which reports are served
    """
    rows = [{"task": _task(who), "name": name, "address": _address(prefix, who, name)} for who, name in found]
    if not rows:
        return missing_page("No reports", f"Run {run_id} of {dag_id} has written no report yet.")
    return render_page("ui/templates/list.html", run_id=run_id, rows=rows)


def missing_page(title: str, message: str) -> str:
    """Say what is not there."""
    return render_page("ui/templates/missing.html", title=title, message=message)


def _task(who: Origin) -> str:
    return who.task_id if who.map_index < 0 else f"{who.task_id} [{who.map_index}]"


def _address(prefix: str, who: Origin, name: str) -> str:
    parts = (who.dag_id, who.run_id, who.task_id, str(who.map_index), name)
    return prefix + "/".join(quote(part, safe="") for part in parts)
