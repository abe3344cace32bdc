"""Whether a field is smooth: what asks for second derivatives of it loses what happens in a kink."""

from __future__ import annotations

import torch
from torch import nn

from node_oc.system.adopt.adopted import AdoptedSystem
from node_oc.system.adopt.operations import op_name
from node_oc.system.base import System

MODULES = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.RReLU, nn.Threshold, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid,
    nn.Hardshrink, nn.Softshrink, nn.SELU,
)  # fmt: skip
OPERATIONS = frozenset({
    "relu", "leaky_relu", "prelu", "relu6", "rrelu", "threshold", "hardtanh", "hardswish", "hardsigmoid", "hardshrink",
    "softshrink", "selu", "abs", "sign", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "max", "min", "amax",
    "amin", "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
})  # fmt: skip


def smooth(system: System) -> bool:
    """Whether nothing with a kink, such as ReLU, is found in a system.

    Of an adopted model every operation behind the lift is looked at. Elsewhere modules are, and the activation that a
    system was made with: a ``torch.relu`` in code of one's own is not seen.
    """
    if isinstance(system, AdoptedSystem):
        mode = system.plan.modes[False]
        pieces = [piece for piece in system.plan.pieces(system.steps, training=False) if piece is not mode.lift]
        nodes = (node for piece in pieces for node in piece.function.graph.nodes if node.op == "call_function")
        return not any(op_name(node).rstrip("_") in OPERATIONS for node in nodes)
    return not any(
        isinstance(module, MODULES) or getattr(module, "activation", "") in ("relu", torch.relu, nn.functional.relu)
        for module in system.modules()
    )
