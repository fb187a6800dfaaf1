"""The documentation builds as a site without a warning, and its pages ask no other host for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")
pytest.importorskip("furo")

# Most of it is imports of what is documented, which take their time on a busy machine.
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
_OUTSIDE = re.compile(r"(?:https?:)?//")
_IN_STYLES = re.compile(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    variables = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow")}
    built = subprocess.run(
        [*command, "--doctree-dir", folder / "doctrees", ROOT / "docs", folder / "html"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


class _Fetched(HTMLParser):
    """Collects what a browser fetches for a page, other than where links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.styles: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        fetched = [found.get("src"), found.get("srcset"), found.get("href") if tag == "link" else None]
        self.addresses += [address for address in fetched if address]
        self.styles.append(found.get("style") or "")


def test_pages_ask_no_other_host(site: Path):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        fetched = _Fetched()
        fetched.feed(page.read_text())
        assert [address for address in fetched.addresses if _OUTSIDE.match(address)] == [], page
        assert not _IN_STYLES.search(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not _IN_STYLES.search(style.read_text()), style


def test_the_reference_is_written_from_the_source(site: Path):
    import airflow_mlops.operators
    import airflow_mlops.sensors
    from airflow_mlops.schemas import load_schema

    def page(name: str) -> str:
        return (site / "reference" / f"{name}.html").read_text()

    for package in (airflow_mlops.operators, airflow_mlops.sensors):
        for name in package.__all__:
            assert f'id="{package.__name__}.{name}"' in page(package.__name__.rpartition(".")[2])
    assert "harm is shown against this multiple" in page("specifications")
    policy = page("policy-schema")
    assert [name for name in load_schema("gate-policy-1")["properties"] if f">{name}</span>" not in policy] == []
    commands = re.sub(r"<[^>]+>", "", page("cli"))
    for text in ("airflow mlops rollout abort", "airflow mlops local up", "airflow mlops gate backtest"):
        assert text in commands
    assert "AIRFLOW__MLOPS__ARTIFACT_ROOT" in page("configuration")
    assert "bearer token" in page("connections")
    assert "RouterConformance" in page("testing")
