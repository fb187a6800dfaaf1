"""File names for identifiers that hold any character: run ids have colons and plus signs."""

from __future__ import annotations

import hashlib
import re
import string

from airflow_mlops.exceptions import SpecificationError

__all__ = ["original_name", "safe_name"]

# No per cent sign: some readers of URIs decode it and some do not.
_KEPT = frozenset(string.ascii_letters + string.digits + "_-.=")
_LONGEST = 180
_ESCAPE = re.compile(r"(?:~[0-9a-f]{2})+")


def safe_name(name: str) -> str:
    """Turn any identifier into one file name that no file system, URI or shell reads as something else.

    Different identifiers give different names. Letters, digits and ``_-.=`` stay; every other byte, and a leading
    dot, becomes ``~`` and two hexadecimal digits. Very long names end in a digest instead.

    :raises SpecificationError: if the name is empty
    """
    if not name:
        raise SpecificationError("name", name, "a name of at least one character")
    quoted = "".join(
        character if character in _KEPT and not (position == 0 and character == ".") else _escaped(character)
        for position, character in enumerate(name)
    )
    if len(quoted) > _LONGEST:
        return f"{quoted[:_LONGEST]}~~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return quoted


def original_name(quoted: str) -> str:
    """Undo :func:`safe_name`; a name that was too long comes back shortened."""
    head = quoted.split("~~", maxsplit=1)[0]
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[0].replace("~", "")).decode(errors="replace"), head)


def _escaped(character: str) -> str:
    return "".join(f"~{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
