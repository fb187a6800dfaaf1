"""Say what software this file system holds, as JSON on standard output.

The text of this module runs inside images that know nothing of this project (``python -c``), so it uses the standard
library of any Python from 3.9 on, imports nothing of ours, and reads only.

Python distributions are found by their metadata wherever they lie, not only where this interpreter would look for
them: an image holds more than one environment.
"""

import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

__all__ = ["inventory"]

# Not part of the image: the kernel's own, and what is mounted when a container runs.
_NOT_THE_IMAGE = ("dev", "proc", "run", "sys", "tmp")
_LONGEST_LICENSE = 80


def inventory(root: Path) -> dict[str, Any]:
    """Return the operating system, the interpreter, and all Debian and Python packages below a folder."""
    return {
        "system": _pairs(root / "etc" / "os-release"),
        "python": {"version": platform.python_version(), "path": os.path.realpath(sys.executable)},
        "debian": list(_debian(root / "var" / "lib" / "dpkg" / "status")),
        "distributions": sorted(_distributions(root), key=lambda one: (one["name"], one["version"], one["path"])),
    }


def _pairs(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = [line.split("=", 1) for line in path.read_text().splitlines() if "=" in line]
    return {name.strip(): value.strip().strip("\"'") for name, value in lines}


def _debian(path: Path) -> Iterator[dict[str, str]]:
    if not path.is_file():
        return
    for paragraph in path.read_text(errors="replace").split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line[:1].strip() and ": " in line]
        fields = dict(line.split(": ", 1) for line in lines)
        # Removed packages stay listed for as long as their configuration does.
        if fields.get("Status", "").endswith(" installed"):
            yield {name.lower(): fields.get(name, "") for name in ("Package", "Version", "Architecture")}


def _distributions(root: Path) -> Iterator[dict[str, Any]]:
    for place, folders, files in os.walk(str(root)):
        if Path(place) == root:
            folders[:] = [name for name in folders if name not in _NOT_THE_IMAGE]
        found = [name for name in folders if name.endswith((".dist-info", ".egg-info"))]
        found += [name for name in files if name.endswith(".egg-info")]
        for name in found:
            path = Path(place, name)
            metadata = PathDistribution(path).metadata
            # A folder of this name without metadata is something else, or the remains of a removed distribution.
            if metadata["Name"] and metadata["Version"]:
                yield {
                    "name": metadata["Name"],
                    "version": metadata["Version"],
                    "license": _license(metadata),
                    "path": "/" + path.relative_to(root).as_posix(),
                }


def _license(metadata: Any) -> str:
    declared = metadata["License-Expression"] or metadata["License"] or ""
    # Some put the whole text here.
    if declared and declared != "UNKNOWN" and "\n" not in declared and len(declared) <= _LONGEST_LICENSE:
        return str(declared)
    named = (one.split(" :: ") for one in metadata.get_all("Classifier") or ())
    return "; ".join(parts[-1] for parts in named if parts[0] == "License" and parts[-1] != "OSI Approved")


if __name__ == "__main__":
    json.dump(inventory(Path("/")), sys.stdout)
