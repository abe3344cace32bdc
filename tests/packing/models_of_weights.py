"""Models of discrete weights for the tests of packing: shares and shapes as asked for, batch norms that matter."""

from __future__ import annotations

import torch

from node_oc.data.split import Scale
from node_oc.discretization.network import Network
from node_oc.inference import Model
from node_oc.packing.files import discrete_layers
from node_oc.system.base import System
from node_oc.system.discrete import DiscreteSystem

FEATURES, CLASSES = 12, 3


def model_of(system: System, features: int = FEATURES) -> Model:
    generator = torch.Generator().manual_seed(1)
    mean, std = torch.randn(features, generator=generator), 0.5 + torch.rand(features, generator=generator)
    names = {"task": "classification", "classes": ["a", "b", "c"], "features": [f"f{i}" for i in range(features)]}
    return Model(Network(system), Scale(mean.double(), std.double()), None, names).eval()


def chain(values: str = "ternary", share: float = 0.1, layers: tuple[str, ...] = ("40", "30"), **options: int) -> Model:
    """A chain of which that share of every layer's weights is not 0, with batch norms that have seen something."""
    features = options.get("features", FEATURES)
    generator = torch.Generator().manual_seed(0)
    model = model_of(DiscreteSystem(features, CLASSES, layers=layers, values=values, generator=generator), features)
    for _, layer in discrete_layers(model):
        if values == "ternary":
            signs = 2 * torch.randint(2, layer.weight.shape, generator=generator) - 1
            layer.weight.copy_(signs * (torch.rand(layer.weight.shape, generator=generator) < share))
    model.train()
    with torch.no_grad():
        for name, tensor in model.network.named_parameters():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator) if "norm" in name else 0)
        model(3 * torch.randn(64, features, generator=generator))
    return model.eval()
