"""What the command ``airflow mlops init NAME`` does: writes a first project, which runs as it is."""

from __future__ import annotations

import argparse
import keyword
import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from airflow_mlops import __version__
from airflow_mlops.cli.output import exits, say
from airflow_mlops.exceptions import ConflictError, SpecificationError

__all__ = ["init", "write_project"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_ACCEPTED = (
    "a small letter, then up to 39 small letters, digits and _, and no word of Python: it becomes a folder, "
    "a Python package, a DAG and a model"
)
#: Names of modules that the project's own files import.
_TAKEN = frozenset({"airflow", "airflow_mlops", "mlflow", "numpy", "pandas", "pyarrow", "pytest", "sklearn", "skops"})
#: In names of files and in their text.
_PLACEHOLDER = "PROJECT"
_VERSION = "PACKAGE_VERSION"
# A template is no module of this package: its files are named so that no tool takes them for one.
_SUFFIX = ".template"


@exits
def init(args: argparse.Namespace) -> int:
    """Write the project and say what to do next."""
    folder = Path(args.folder)
    written = write_project(args.name, folder)
    for path in written:
        say(f"wrote {path}")
    project = folder / args.name
    say("")
    say("next:")
    say(f"  airflow mlops local up --home {project / '.stack'} --dags-folder {project / 'dags'}")
    say(f"  then start the DAG {args.name} at http://127.0.0.1:8080, or read {project / 'README.md'}")
    return 0


def write_project(name: str, folder: Path) -> list[Path]:
    """Write a project's files and return them; nothing is written unless all of them can be.

    :param name: of the project
    :param folder: where its folder is made; exists
    :raises SpecificationError: if the name or the folder is wrong
    :raises ConflictError: if one of the files is there already
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in _TAKEN:
        raise SpecificationError("NAME", name, _ACCEPTED)
    if not folder.is_dir():
        raise SpecificationError("--folder", str(folder), "a folder that exists")
    root = folder / name
    content = {root / path: text for path, text in _rendered(name)}
    for path in content:
        if path.exists() or path.is_symlink():
            raise ConflictError(f"{path} is there already; nothing was written. Choose another name, or move it away")
        blocked = [parent for parent in path.parents if parent.exists() and not parent.is_dir()]
        if blocked:
            raise ConflictError(f"{blocked[0]} is there already and is no folder; nothing was written")
    for path, text in content.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x": never over a file that somebody made in between.
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    return list(content)


def _rendered(name: str) -> Iterator[tuple[Path, str]]:
    """Give each template's path below the project, and its text."""
    from airflow_mlops.local.environments import find_requirements

    # The same pins as those of the model environment on one machine.
    yield Path("requirements.txt"), find_requirements()[0].read_text(encoding="utf-8")
    template = files("airflow_mlops") / "templates" / "project"
    for path, source in sorted(_below(template)):
        where = str(path).removesuffix(_SUFFIX).replace(_PLACEHOLDER, name)
        text = source.read_text(encoding="utf-8").replace(_PLACEHOLDER, name).replace(_VERSION, __version__)
        yield Path(where), text


def _below(folder: Traversable, parent: Path = Path()) -> Iterator[tuple[Path, Traversable]]:
    for entry in folder.iterdir():
        path = parent / entry.name
        if entry.is_dir():
            yield from _below(entry, path)
        elif entry.name.endswith(_SUFFIX):
            yield path, entry
