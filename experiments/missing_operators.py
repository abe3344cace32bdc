"""Operators of torchvision that its Python code looks for, where its compiled ones do not match this torch.

transformers imports torchvision wherever it is installed. Nothing here needs what the operators would do.
"""

from __future__ import annotations

import sys

import torch


def define() -> list[torch.library.Library]:
    """To be kept as long as they are needed; nothing where torchvision has them, or is not there."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return []
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    else:
        return []
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return [library]


OPERATORS = define()
