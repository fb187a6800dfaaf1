"""Whether Airflow is up: its components, and this package's plugin in the API server."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.site import Site

__all__ = ["components", "pages", "plugin"]

_PATIENCE_SECONDS = 5.0
_NEEDED_FOR = {
    "scheduler": "no task starts",
    "triggerer": "sensors, rollouts and deferred trainings stand still",
    "dag_processor": "no DAG is read",
    "metadatabase": "nothing works",
}


def components(site: Site) -> Iterator[Finding]:
    """Ask the API server how all components are; without one, Airflow's own command about the triggerer."""
    del site
    import httpx

    url = _url()
    try:
        answer = httpx.get(f"{url}/api/v2/monitor/health", timeout=_PATIENCE_SECONDS)
        answer.raise_for_status()
        document: Mapping[str, Any] = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        yield warn(
            "API server",
            f"it does not tell its health at {url}: {error or type(error).__name__}",
            "start it, or set [api] base_url to where it answers",
        )
        yield _triggerer()
        return
    yield ok("API server", f"answers at {url}")
    for name, harm in _NEEDED_FOR.items():
        found = document.get(name) or {}
        status, beat = found.get("status"), found.get(f"latest_{name}_heartbeat")
        seen = f"; last heartbeat {beat}" if beat else ""
        if status == "healthy":
            yield ok(name, f"healthy{seen}")
        else:
            yield failed(name, f"{status or 'never seen'}{seen}: {harm}", f"start `airflow {name.replace('_', '-')}`")


def _url() -> str:
    from airflow.configuration import conf

    given: str = conf.get("api", "base_url", fallback="") or ""
    if given.startswith("http"):
        return given.rstrip("/")
    return f"http://127.0.0.1:{conf.get('api', 'port', fallback='8080')}{given.rstrip('/')}"


def _triggerer() -> Finding:
    """Ask the metadata database, through Airflow's own command, whether a triggerer beats."""
    from airflow.cli.cli_parser import get_parser
    from sqlalchemy.exc import SQLAlchemyError

    words = ("jobs", "check", "--job-type", "TriggererJob", "--allow-multiple", "--limit", "100")
    asked, said = get_parser().parse_args(words), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            asked.func(asked)
    except SystemExit as end:
        why = str(end.code).rstrip(".")
        return failed("triggerer", f"{why}: {_NEEDED_FOR['triggerer']}", "start `airflow triggerer`")
    except SQLAlchemyError as error:
        why = str(error).splitlines()[0]
        remedy = "look at [database] sql_alchemy_conn, and run `airflow db migrate`"
        return failed("metadatabase", f"Airflow cannot ask it: {type(error).__name__}: {why}", remedy)
    return ok("triggerer", said.getvalue().strip())


def plugin(site: Site) -> Iterator[Finding]:
    """Load plugins as Airflow's processes do."""
    del site
    from airflow.plugins_manager import get_import_errors, get_plugin_info

    loaded = {one["name"] for one in get_plugin_info(["external_views"])}
    ours = {name: said for name, said in get_import_errors().items() if "mlops" in f"{name} {said}".lower()}
    for name, said in ours.items():
        yield failed("plugin", f"{name}: {said}", "the pages of this package are missing until this import works")
    if "mlops" in loaded:
        yield ok("plugin", "Airflow loads it")
    elif not ours:
        yield failed(
            "plugin",
            "Airflow does not find it among the entry points `airflow.plugins`",
            "pip install airflow-mlops into this environment; a copy on the path has no entry points",
        )


def pages(site: Site) -> Iterator[Finding]:
    """Ask the API server for a page without saying who asks; it must be there, and must refuse."""
    del site
    import httpx

    url = f"{_url()}/mlops/models"
    try:
        status = httpx.get(url, timeout=_PATIENCE_SECONDS).status_code
        # Airflow's own application answers every address that is nobody's, so only this tells whether ours is there.
        absent = httpx.get(f"{_url()}/mlops/doctor-absent", timeout=_PATIENCE_SECONDS).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield note("pages", f"not seen: {error or type(error).__name__}", "ask again when the API server runs")
        return
    yield _page(url, status, served=absent in (401, 403, 404))


def _page(url: str, status: int, *, served: bool) -> Finding:
    from airflow.configuration import conf

    if not served or status == 404:
        remedy = "install this package where the API server runs, and start it again; its log names what failed"
        return failed("pages", f"{url} is not served by the plugin", remedy)
    if status in (401, 403):
        return ok("pages", f"{url} is served, and refuses who is not logged in ({status})")
    if status >= 500:
        return failed("pages", f"{url} answers {status}", "look at the log of the API server")
    if conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False):
        return note(
            "pages",
            f"{url} is served to everybody who reaches the port: [core] simple_auth_manager_all_admins is set",
            "only for a stack on one's own machine",
        )
    return failed("pages", f"{url} answers {status} to nobody in particular", "look at [core] auth_manager")
