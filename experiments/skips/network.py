"""A pre-activation residual network in plain PyTorch, as a user has one: ResNet-v2 (He et al., arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import node_oc as oc


class Block(nn.Module):
    """bn-relu-conv-bn-relu-conv beside an identity skip; between stages a 1x1 projection of bn-relu."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        changes = stride > 1 or inputs != outputs
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        skipped = x if self.projection is None else self.projection(y)
        return skipped + self.conv2(F.relu(self.bn2(self.conv1(y))))


class Augment(nn.Module):
    """In training mode each image moved by up to 4 pixels in both directions, zeros coming in, and mirrored or not."""

    rows: Tensor
    columns: Tensor

    def __init__(self, image: Sequence[int], reach: int = 4) -> None:
        super().__init__()
        self.reach = reach
        self.register_buffer("rows", torch.arange(image[1]), persistent=False)
        self.register_buffer("columns", torch.arange(image[2]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        reach, (_, channels, height, width) = self.reach, x.shape
        drawn = torch.rand_like(x[:, 0, 0, :3])
        down, right = ((2 * reach + 1) * drawn[:, :2]).long()[:, :, None].unbind(1)
        rows, columns = self.rows + down, self.columns + right
        columns = torch.where(drawn[:, 2:] < 0.5, columns, columns.flip(1))
        x = F.pad(x, [reach] * 4).gather(2, rows[:, None, :, None].expand(-1, channels, -1, width + 2 * reach))
        return x.gather(3, columns[:, None, None, :].expand(-1, channels, height, -1))


class ResNetV2(nn.Module):
    """3x3 convolution, stages of blocks, bn-relu-pool-linear head.

    Args:
        image: channels, rows and columns of an image.
        blocks: number of blocks a stage.
        channels: of each stage; from the second one on the first block halves rows and columns.
        classes: number of outputs.
        augment: whether training images are moved and mirrored.
    """

    def __init__(
        self, image: Sequence[int], blocks: int, channels: Sequence[int], classes: int = 10, augment: bool = False
    ) -> None:
        super().__init__()
        self.augment = Augment(image) if augment else nn.Identity()
        self.stem = nn.Conv2d(image[0], channels[0], 3, 1, 1, bias=False)
        made, inputs = [], channels[0]
        for stage, outputs in enumerate(channels):
            for k in range(blocks):
                made.append(Block(inputs, outputs, 2 if stage and not k else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*made)
        self.norm, self.head = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        with torch.no_grad():  # a block starts near its skip, as with torchvision's zero_init_residual
            for block in made:
                block.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(self.augment(x)))
        return self.head(F.relu(self.norm(x)).mean((2, 3)))


def adopted(image: Sequence[int], blocks: int, channels: Sequence[int], seed: int, augment: bool = False) -> oc.Network:
    """An untrained one, adopted: its branches are the blocks, in their order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNetV2(image, blocks, channels, augment=augment)
    return oc.Network(oc.adopt(model, torch.zeros(2, *image)))
