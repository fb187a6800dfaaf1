"""Every code block of the documentation says what it is, and its Python runs.

Blocks of the language ``text`` are for people; right behind a program they are what it prints. Documents and commands
are read in ``test_docs_documents.py`` and ``test_docs_commands.py``; a block that no rule there covers fails its test.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.documentation import README, ROOT, SHELL, Block, blocks

#: Trains a model; `test_readme.py` runs it.
_SCRIPTS = [block for block in blocks("python", pages=(README,)) if "training_job()" in block.text]


def test_every_block_says_what_it_is():
    known = {"python", "yaml", "json", "ini", *SHELL, "text"}
    unknown = {str(block): block.language for block in blocks() if not block.language.startswith("{")}
    # The README's picture is for people.
    allowed = {name for name in unknown if name.startswith("README.md") and not unknown[name]}
    assert {name: language for name, language in unknown.items() if language not in known and name not in allowed} == {}


@pytest.mark.parametrize("block", [one for one in blocks("python") if one not in _SCRIPTS], ids=str)
def test_python(block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    if re.search(r"^with DAG\(|^@dag", block.text, flags=re.MULTILINE):
        _parse_dag(block, tmp_path)
        return
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(block.text, str(block), "exec"), names)
    for name, test in names.items():
        if name.startswith("test_"):
            test()
    printed = capsys.readouterr().out
    assert block.output in printed
    assert block.output or "print(" not in block.text, "the page does not show what this prints"


def _parse_dag(block: Block, folder: Path) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    (folder / "block.py").write_text(block.text)
    bag = BundleDagBag(dag_folder=str(folder / "block.py"), bundle_path=folder)
    assert bag.import_errors == {}
    assert bag.dags
    assert all(dag.tasks for dag in bag.dags.values())
