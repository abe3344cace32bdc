"""A model that the user's own code makes: which names are such ones, and that a typed name is trusted."""

from __future__ import annotations

import os
import sys

ZOOS = ("torchvision", "timm", "hf")  # their names need no trust


def trust(source: str | None) -> None:
    """Let files of a run name this function, since its name was typed; modules of the current directory are found."""
    if source is None or source.partition(":")[0] in ZOOS:
        return
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    from node_oc.system.adopt.source import trust_model

    trust_model(source)


def is_own(name: str) -> bool:
    """Whether a name is that of a function in a module of the user's."""
    return ":" in name and name.partition(":")[0] not in ZOOS
