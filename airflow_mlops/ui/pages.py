"""The pages around the reports: the list of a run's reports, and what to say when there is none."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from airflow_mlops.evidence import Origin

__all__ = ["list_page", "missing_page"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font-family: system-ui, sans-serif; margin: 2rem; color: #1b2733; background: #fff; max-width: 60rem }}
table {{ border-collapse: collapse }} th, td {{ text-align: left; padding: .4rem 1.2rem .4rem 0 }}
th {{ border-bottom: 2px solid #d5dde5 }} td {{ border-bottom: 1px solid #e8edf2 }} code {{ overflow-wrap: anywhere }}
</style></head><body><h1>{title}</h1>{body}</body></html>
"""


def list_page(dag_id: str, run_id: str, found: Iterable[tuple[Origin, str]], prefix: str) -> str:
    """List a run's reports.

    :param found: who wrote it, and its name
    :param prefix: address under which reports are served
    """
    rows = "".join(_row(who, name, prefix) for who, name in found)
    if not rows:
        return missing_page("No reports", f"Run {run_id} of {dag_id} has written no report yet.")
    table = f"<table><tr><th>Task</th><th>Report</th></tr>{rows}</table>"
    return _PAGE.format(title="Reports", body=f"<p>Run <code>{escape(run_id)}</code></p>{table}")


def missing_page(title: str, message: str) -> str:
    """Say what is not there."""
    return _PAGE.format(title=escape(title), body=f"<p>{escape(message)}</p>")


def _row(who: Origin, name: str, prefix: str) -> str:
    link = f'<a href="{escape(_address(prefix, who, name))}">{escape(name)}</a>'
    return f"<tr><td>{escape(_task(who))}</td><td>{link}</td></tr>"


def _task(who: Origin) -> str:
    return who.task_id if who.map_index < 0 else f"{who.task_id} [{who.map_index}]"


def _address(prefix: str, who: Origin, name: str) -> str:
    parts = (who.dag_id, who.run_id, who.task_id, str(who.map_index), name)
    return prefix + "/".join(quote(part, safe="") for part in parts)
