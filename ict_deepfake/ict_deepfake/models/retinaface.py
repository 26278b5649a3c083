"""RetinaFace (Deng et al., 2020): face boxes and five points on a feature pyramid, under the names of the published files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from shared_utils import UserError

Backbone = Literal["mobile0.25", "resnet50"]


class RetinaOutput(NamedTuple):
    """Raw answers at every anchor: loc (n, anchors, 4), score (n, anchors) of being a face, landmark (n, anchors, 10)."""

    loc: Tensor
    score: Tensor
    landmark: Tensor


def _conv(before: int, after: int, stride: int = 1, kernel: int = 3, slope: float | None = 0.0) -> nn.Sequential:
    layers = [nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after)]
    return nn.Sequential(*layers, *([] if slope is None else [nn.LeakyReLU(slope)]))


def _separable(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.LeakyReLU(0.1),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.1),
    )


class MobileNetQuarter(nn.Module):
    """MobileNet V1 of a quarter of the width; maps at strides 8, 16 and 32."""

    widths = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        first = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.stage1 = nn.Sequential(_conv(3, 8, 2, slope=0.1), *(_separable(*step) for step in first))
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *(_separable(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.stage1(images)
        second = self.stage2(first)
        return [first, second, self.stage3(second)]


class ResNet50(nn.Module):
    """torchvision's ResNet-50 without its classifier; maps at strides 8, 16 and 32."""

    widths = (512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        whole = resnet50()
        self.conv1, self.bn1 = whole.conv1, whole.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4
        self.maxpool = whole.maxpool

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.layer1(self.maxpool(relu(self.bn1(self.conv1(images)))))
        first = self.layer2(x)
        second = self.layer3(first)
        return [first, second, self.layer4(second)]


class FeaturePyramid(nn.Module):
    """Coarse maps are enlarged, added to finer ones and smoothed."""

    def __init__(self, widths: Sequence[int], width: int, slope: float) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(before, width, kernel=1, slope=slope) for before in widths)
        self.merge1, self.merge2 = _conv(width, width, slope=slope), _conv(width, width, slope=slope)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fine, middle, coarse = self.output1(maps[0]), self.output2(maps[1]), self.output3(maps[2])
        middle = self.merge2(middle + interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return [fine, middle, coarse]


class ContextModule(nn.Module):
    """SSH: three branches of 3x3 convolutions that see 3, 5 and 7 pixels."""

    def __init__(self, width: int, slope: float) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.conv3X3 = _conv(width, half, slope=None)
        self.conv5X5_1 = _conv(width, quarter, slope=slope)
        self.conv5X5_2 = _conv(quarter, quarter, slope=None)
        self.conv7X7_2 = _conv(quarter, quarter, slope=slope)
        self.conv7x7_3 = _conv(quarter, quarter, slope=None)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.conv5X5_1(x)
        seven = self.conv7x7_3(self.conv7X7_2(shared))
        return relu(torch.cat([self.conv3X3(x), self.conv5X5_2(shared), seven], 1))


class Head(nn.Module):
    """``values`` numbers for each of the two anchors of a place: (n, width, h, w) -> (n, 2 h w, values)."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)


class RetinaFace(nn.Module):
    """Boxes, face scores and five points at two anchors a place of three maps.

    Args:
        backbone: ``mobile0.25`` or ``resnet50``.
    """

    def __init__(self, backbone: Backbone = "resnet50") -> None:
        super().__init__()
        if backbone not in ("mobile0.25", "resnet50"):
            raise UserError(f"a RetinaFace on {backbone!r} is not known: use mobile0.25 or resnet50")
        self.backbone = backbone
        self.body = MobileNetQuarter() if backbone == "mobile0.25" else ResNet50()
        width = 64 if backbone == "mobile0.25" else 256
        slope = 0.1 if width <= 64 else 0.0
        self.fpn = FeaturePyramid(self.body.widths, width, slope)
        self.ssh1, self.ssh2, self.ssh3 = (ContextModule(width, slope) for _ in range(3))
        self.ClassHead = nn.ModuleList(Head(width, 2) for _ in range(3))
        self.BboxHead = nn.ModuleList(Head(width, 4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(Head(width, 10) for _ in range(3))

    def forward(self, images: Tensor) -> RetinaOutput:
        """Images (n, 3, h, w), BGR in 0..255 minus (104, 117, 123) -> raw answers, anchors in the order of ``prior_box``:
        fine map first, row by row, the smaller anchor of a place first."""
        maps = self.fpn(self.body(images))
        maps = [module(x) for module, x in zip((self.ssh1, self.ssh2, self.ssh3), maps, strict=True)]

        def answers(heads: nn.ModuleList) -> Tensor:
            return torch.cat([head(x) for head, x in zip(heads, maps, strict=True)], 1)

        score = answers(self.ClassHead).softmax(-1)[..., 1]
        return RetinaOutput(answers(self.BboxHead), score, answers(self.LandmarkHead))
