"""What an environment holds of this package; also run as a file by the model environment's Python.

Only the standard library is used: what is asked may lack everything else.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from pathlib import Path
from typing import Any

__all__ = ["describe"]

#: What evaluation needs, and training scripts usually.
_LIBRARIES = ("scikit-learn", "pandas", "pyarrow", "skops", "mlflow-skinny")


def describe() -> dict[str, Any]:
    """Return Python's version, that of this package, the digest of its files, and versions of libraries."""
    found = importlib.util.find_spec("airflow_mlops")
    folder = None if found is None or found.origin is None else Path(found.origin).parent
    return {
        "python": platform.python_version(),
        "path": None if folder is None else str(folder),
        "version": None if folder is None else _stated(folder / "__init__.py"),
        "digest": None if folder is None else _digest(folder),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "airflow": _version("apache-airflow-core"),
    }


def _stated(file: Path) -> str:
    """Return the version in the code: a copy need not be an installed distribution."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__ = "):
            return line.split('"')[1]
    return "unknown"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(json.dumps(describe()))
