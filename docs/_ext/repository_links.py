"""Links of the documentation to files of the repository, which are no pages of the site."""

from __future__ import annotations

import re
from typing import Any

#: Files of the repository that the site has as pages.
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"\]\((?:\.\./)+(README|CHANGELOG|CONTRIBUTING)\.md(?=[)#])")


def retarget(app: Any, docname: str, source: list[str]) -> None:  # noqa: ARG001 - Sphinx's form of a listener
    """Point links to the repository's own pages at those of the site; other files become downloads."""
    depth = docname.count("/")
    source[0] = _LINK.sub(lambda found: f"]({'../' * depth}{PAGES[found[1] + '.md']}", source[0])


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", retarget)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
