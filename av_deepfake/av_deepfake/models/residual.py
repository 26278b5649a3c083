"""Residual blocks over one or two dimensions, with the names of the published networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

from torch import Tensor, nn

Stride = int | tuple[int, int]


Activation = Literal["prelu", "relu", "swish"]
#: By their names in the published configurations; PReLU has a slope for each channel.
ACTIVATIONS: dict[Activation, Callable[[int], nn.Module]] = {
    "prelu": nn.PReLU,
    "relu": lambda _: nn.ReLU(inplace=True),
    "swish": lambda _: nn.SiLU(inplace=True),
}


class ResidualBlock(nn.Module):
    """Two convolutions of 3 with batch norm, added to what came in (through a convolution of 1 where shapes differ).

    Args:
        dimensions: 1 for (n, c, t), 2 for (n, c, h, w).
        inputs, outputs: channels.
        stride: of the first convolution.
        activation: ``prelu`` (most mouth networks), ``swish`` (the others) or ``relu`` (log-mel bands).
    """

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, stride: Stride = 1, activation: Activation = "prelu"
    ) -> None:
        super().__init__()
        flat = dimensions == 1
        convolution = cast("Any", nn.Conv1d if flat else nn.Conv2d)
        norm = nn.BatchNorm1d if flat else nn.BatchNorm2d
        self.conv1 = convolution(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = norm(outputs)
        self.relu1 = ACTIVATIONS[activation](outputs)
        self.conv2 = convolution(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = norm(outputs)
        self.relu2 = ACTIVATIONS[activation](outputs)
        same = inputs == outputs and stride in (1, (1, 1))
        self.downsample = (
            None if same else nn.Sequential(convolution(inputs, outputs, 1, stride=stride, bias=False), norm(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.downsample is None else self.downsample(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(x)) + kept)


class Stages(nn.Module):
    """``layer1``, ``layer2``, ...: stages of residual blocks; every stage but the first begins with a stride.

    Args:
        dimensions: 1 or 2.
        inputs: channels of what comes in.
        widths: channels of each stage.
        blocks: number of blocks of each stage.
        stride: with which the second and later stages begin.
        activation: of the blocks.
    """

    def __init__(
        self,
        dimensions: int,
        inputs: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        stride: Stride = 2,
        activation: Activation = "prelu",
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"widths {tuple(widths)} and blocks {tuple(blocks)}: one number of each a stage")
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            first = ResidualBlock(dimensions, inputs, width, 1 if index == 0 else stride, activation)
            rest = [ResidualBlock(dimensions, width, width, 1, activation) for _ in range(count - 1)]
            setattr(self, f"layer{index + 1}", nn.Sequential(first, *rest))
            inputs = width
        self.names = [f"layer{index + 1}" for index in range(len(widths))]

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = getattr(self, name)(x)
        return x
