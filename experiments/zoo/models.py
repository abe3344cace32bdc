"""The models: how each is made, what it takes, and how many branches its architecture has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import node_oc as oc
from experiments import missing_operators  # noqa: F401
from experiments.zoo.written import PreNormTransformer, ResidualMLP, SharedLoop

VOCABULARY = 50
IMAGE = (2, 3, 32, 32)
# With a batch norm, and a total stride of 32: eight values a channel are left at the end, in training mode.
NORMED = (2, 3, 64, 64)
TOKENS = (2, 12, "int64")


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: as of :func:`node_oc.make_model`.
        inputs: shape of the input, with the type at its end for integers.
        branches: how many residual branches the architecture has.
        why: the reason for that number.
        arguments: passed on when it is made.
        shared: whether the branches are one, so that the reference is a shorter loop and not a branch set to zero.
    """

    name: str
    inputs: tuple[Any, ...]
    branches: int
    why: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"num_classes": 10})
    shared: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """How a file describes it."""
        return oc.source_of(self.name, self.inputs, self.arguments)

    def make(self, **changed: Any) -> nn.Module:
        """The model in evaluation mode, every parameter moved away from where it starts.

        So heads that start at zero say something, and no branch is nearly nothing. Running statistics are those of a
        batch.

        Args:
            changed: arguments that are to be others.
        """
        torch.manual_seed(0)
        model = oc.make_model(self.name, {**self.arguments, **changed})
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.03 * torch.randn_like(p))
            if norms := [m for m in model.modules() if isinstance(m, _BatchNorm)]:
                momentum = norms[0].momentum
                for norm in norms:
                    norm.momentum = 1.0
                model.train()(self.input(8, seed=3))
                for norm in norms:
                    norm.momentum = momentum
        return model.eval()

    def input(self, batch: int, seed: int = 1) -> Tensor:
        """Random inputs of the described shape."""
        g = torch.Generator().manual_seed(seed)
        if self.inputs[-1] == "int64":
            return torch.randint(0, VOCABULARY, (batch, *self.inputs[1:-1]), generator=g)
        return torch.randn(batch, *self.inputs[1:], generator=g)


SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {**SMALL, "vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2}
GPT2 = {"vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 32, "n_layer": 3, "n_head": 4, "use_cache": False,
        "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
HF_RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [2, 2], "num_labels": 10}
CLASSES = {"num_classes": 10}
ON_32 = {"num_classes": 10, "img_size": 32}

ZOO = (
    Entry("torchvision:resnet18", NORMED, 8, "2+2+2+2 blocks"),
    Entry("torchvision:resnet50", NORMED, 16, "3+4+6+3 blocks"),
    Entry("torchvision:resnext50_32x4d", NORMED, 16, "3+4+6+3 blocks"),
    Entry("torchvision:wide_resnet50_2", NORMED, 16, "3+4+6+3 blocks"),
    Entry("torchvision:regnet_y_400mf", NORMED, 16, "1+3+6+6 blocks"),
    Entry("torchvision:mobilenet_v2", NORMED, 10, "17 blocks less the 7 first ones of a stage, without a skip"),
    Entry("torchvision:efficientnet_b0", NORMED, 9, "16 blocks less the 7 first ones of a stage, without a skip"),
    Entry("torchvision:convnext_tiny", NORMED, 18, "3+3+9+3 blocks"),
    Entry("torchvision:vit_b_16", IMAGE, 24, "12 layers of attention and MLP", {**CLASSES, "image_size": 32}),
    Entry("torchvision:swin_t", NORMED, 24, "2+2+6+2 layers of attention and MLP"),
    Entry("timm:resnetv2_50", NORMED, 16, "3+4+6+3 blocks"),
    Entry("timm:deit_tiny_patch16_224", IMAGE, 24, "12 layers of attention and MLP", ON_32),
    Entry("timm:mixer_b16_224", IMAGE, 24, "12 layers of token and channel MLP", ON_32),
    Entry("timm:convnextv2_atto", NORMED, 12, "2+2+6+2 blocks"),
    Entry("hf:ResNetForImageClassification", IMAGE, 4, "2+2 blocks", HF_RESNET),
    Entry("hf:ViTForImageClassification", IMAGE, 6, "3 layers of attention and MLP",
          {**SMALL, "image_size": 32, "patch_size": 8, "num_labels": 10}),
    Entry("hf:BertForSequenceClassification", TOKENS, 6, "3 layers of attention and MLP, norms behind the sums",
          {**TEXT, "num_labels": 5}),
    Entry("hf:GPT2LMHeadModel", TOKENS, 6, "3 layers of attention and MLP", GPT2),
    Entry("hf:LlamaForCausalLM", TOKENS, 6, "3 layers of attention and MLP", {**TEXT, "use_cache": False}),
    Entry("zoo-residual-mlp", (2, 6), 5, "5 blocks", {}),
    Entry("zoo-transformer", TOKENS, 6, "3 layers of attention and MLP", {}),
    Entry("zoo-shared-loop", (2, 6), 4, "4 rounds of one block", {}, shared=True),
)  # fmt: skip


def register() -> None:
    """Enter the networks written by hand."""
    for name, model in (("residual-mlp", ResidualMLP), ("transformer", PreNormTransformer),
                        ("shared-loop", SharedLoop)):  # fmt: skip
        oc.register_model(f"zoo-{name}", model)
