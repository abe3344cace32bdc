"""Docstrings name their relatives as Sphinx does, :func:`node_oc.fit`; these pages show the name alone."""

from __future__ import annotations

import re
from typing import Any

ROLE = re.compile(r":(?:func|class|meth|attr|mod):(?=<code>)")


def on_page_content(html: str, **_: Any) -> str:
    """Called by MkDocs with the body of every page."""
    return ROLE.sub("", html)
