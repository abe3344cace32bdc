"""Operators of torchvision that its Python code looks for, where its compiled ones do not match this torch.

transformers imports torchvision wherever it is installed. Nothing here needs what the operators would do.
"""

from __future__ import annotations

import importlib.util

import torch


def define() -> list[torch.library.Library]:
    """To be kept as long as they are needed; nothing where they are there."""
    if importlib.util.find_spec("torchvision") is None or hasattr(torch.ops.torchvision, "nms"):
        return []
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return [library]


OPERATORS = define()
