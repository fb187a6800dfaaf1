"""What the documentation names exists, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.documentation import EXTRAS, PAGES, ROOT, TARGETS, links, prose

#: Operators of Airflow and of others that pages speak of.
_OTHERS = {
    "BaseOperator",
    "KubernetesPodOperator",
    "GXValidateBatchOperator",
    "GXValidateCheckpointOperator",
    "GXValidateDataFrameOperator",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path):
    import airflow_mlops.operators
    from airflow_mlops.cli.definition import get_cli_commands

    text = page.read_text()
    assert set(re.findall(r"\b[A-Z]\w+Operator\b", text)) <= {*airflow_mlops.operators.__all__, *_OTHERS}
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= TARGETS
    (top,) = get_cli_commands()
    for spelled in re.findall(r"`airflow mlops ([^`]+)`", text):
        _check_inline(top, spelled.split())
    for target in links(page):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


def _check_inline(command: Any, words: list[str]) -> None:
    """Follow words as far as there are subcommands: ``local up|down``, ``rollout abort ROUTE``."""
    if not hasattr(command, "subcommands") or not words or words[0] == "…":
        return
    known = {one.name: one for one in command.subcommands}
    for name in words[0].split("|"):
        assert name in known, f"airflow mlops … {name}"
        _check_inline(known[name], words[1:])


def test_tests_that_are_named_exist():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)", prose(page)):
            assert name in names or f"def {name}" in sources, f"{page.name}: {name}"


def test_messages_of_the_table_of_faults_are_ours():
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text[text.index("## Faults and what to do") : text.index("## Backup")]
    source = "\n".join(path.read_text() for path in (ROOT / "airflow_mlops").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    first_cells = "\n".join(re.findall(r"^\| (.+?) \| ", table, flags=re.MULTILINE))
    parts = [part.strip(" :'()") for said in re.findall(r"`([^`]+)`", first_cells) for part in said.split("…")]
    assert len(parts) > 20
    assert [part for part in parts if len(part) > 8 and part not in source] == []


def test_nothing_is_left_out():
    import airflow_mlops.operators
    import airflow_mlops.sensors

    pages = {page: page.read_text() for page in PAGES}
    guides = "\n".join(text for page, text in pages.items() if page.parent == ROOT / "docs")
    classes = {*airflow_mlops.operators.__all__, *airflow_mlops.sensors.__all__}
    assert {name for name in classes if name not in guides} == set()
    table = re.findall(r"^\| `(\w+)` \|", pages[ROOT / "docs" / "installation.md"], flags=re.MULTILINE)
    assert set(table) >= EXTRAS
