"""Trunks: images to feature maps. ResNets under torchvision's names, and any model of timm."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shared_utils import UserError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the identity (He et al., 2016)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + identity)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 and the identity: version 1.5, as in torchvision and fast-reid."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + identity)


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class NonLocal(nn.Module):
    """Every place sees every other: dot products divided by the number of places (Wang et al., 2018), added to the map.

    The last batch norm begins at 0, so that a fresh block changes nothing. One inner channel is what AGW and fast-reid
    have.
    """

    def __init__(self, channels: int, inner: int = 1) -> None:
        super().__init__()
        self.g = nn.Conv2d(channels, inner, 1)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        g, theta, phi = (layer(x).flatten(2) for layer in (self.g, self.theta, self.phi))
        # (theta^T phi) g / places = theta^T (phi g) / places: the map of places x places is never needed.
        seen = theta.transpose(1, 2) @ (phi @ g.transpose(1, 2)) / g.shape[2]
        return x + self.W(seen.transpose(1, 2).unflatten(2, x.shape[2:]))


class ResNet(nn.Module):
    """A ResNet without its classifier, under torchvision's names.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        depths: blocks of the four stages.
        widths: channels of the four stages, before the block's expansion; the first is the stem's too.
        last_stride: of the last stage; 1 in fine-tuning, which doubles the map.
        non_local: ``NonLocal`` blocks of the four stages, each after one of the stage's last blocks (AGW).
        inner: channels inside of them.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        last_stride: int = 2,
        non_local: Sequence[int] = (0, 0, 0, 0),
        inner: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = widths[0]
        for number, (depth, width, stride) in enumerate(zip(depths, widths, (1, 2, 2, last_stride), strict=True), 1):
            blocks = []
            for index in range(depth):
                blocks.append(block(channels, width, stride if index == 0 else 1))
                channels = width * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            if non_local[number - 1]:
                added = nn.ModuleList(NonLocal(channels, inner) for _ in range(min(depth, non_local[number - 1])))
                self.add_module(f"NL_{number}", added)
        self.num_features = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def stages(self) -> list[nn.Module]:
        """The four stages, from the picture's side."""
        return [getattr(self, f"layer{number}") for number in range(1, 5)]

    def stem(self, images: Tensor) -> Tensor:
        """What comes before the first stage."""
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) normalised images -> (n, num_features, h', w')."""
        x = self.stem(images)
        for number, stage in enumerate(self.stages, 1):
            x = run_stage(x, stage, getattr(self, f"NL_{number}", ()))
        return x


def run_stage(x: Tensor, stage: Any, non_local: Any = ()) -> Tensor:
    """Blocks one after the other, each of the last ones followed by its non-local block."""
    first = len(stage) - len(non_local)
    for index, block in enumerate(stage):
        x = block(x)
        if index >= first:
            x = non_local[index - first](x)
    return x


class TimmTrunk(nn.Module):
    """A model of timm as a trunk; tokens of transformers come back as the map that they were cut from."""

    def __init__(self, name: str) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            close = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
            raise UserError(f"timm has no model {name!r}: did you mean timm:{close}?")
        # Models of a fixed picture size take an argument to free themselves from it; which one is theirs is found out.
        options: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
        for free in options:
            try:
                self.model: Any = timm.create_model(name, num_classes=0, global_pool="", **free)
                break
            except TypeError as error:
                if not free or "unexpected keyword" not in str(error):
                    raise
        self.num_features: int = self.model.num_features

    @property
    def stages(self) -> list[nn.Module]:
        """The parts of the model, from the picture's side."""
        return list(self.model.children())

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) normalised images -> (n, num_features, h', w')."""
        features = self.model.forward_features(images)
        if features.dim() == 4:
            return features if features.shape[1] == self.num_features else features.permute(0, 3, 1, 2)
        tokens = features[:, getattr(self.model, "num_prefix_tokens", 0) :]
        embedding: Any = getattr(self.model, "patch_embed", None)
        height = tokens.shape[1]
        if hasattr(embedding, "dynamic_feat_size"):
            height = embedding.dynamic_feat_size(tuple(images.shape[2:]))[0]
        return tokens.transpose(1, 2).unflatten(2, (height, tokens.shape[1] // height))


#: ResNets by name: their block, the depths of the stages, the widths.
RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...], tuple[int, ...]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet34": (BasicBlock, (3, 4, 6, 3), (64, 128, 256, 512)),
    "resnet50": (Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512)),
    "resnet101": (Bottleneck, (3, 4, 23, 3), (64, 128, 256, 512)),
    "resnet152": (Bottleneck, (3, 8, 36, 3), (64, 128, 256, 512)),
    "resnet_mini": (BasicBlock, (1, 1, 1, 1), (16, 32, 64, 96)),
}
#: Trunks by name; besides them there is ``timm:NAME`` for every model of timm.
TRUNKS = tuple(RESNETS)


def build_trunk(name: str, **options: Any) -> nn.Module:
    """A trunk with fresh weights: (n, 3, h, w) normalised images -> (n, C, h', w'), C its ``num_features``.

    Args:
        name: of ``TRUNKS``, or ``timm:NAME``.
        options: ``last_stride``, ``non_local`` and ``inner`` of a ResNet.

    Raises:
        UserError: there is no trunk of that name, or a model of timm is given options.
    """
    if name.startswith("timm:"):
        if options:
            raise UserError(f"{name} has no {', '.join(options)}: give one of {', '.join(TRUNKS)}")
        return TimmTrunk(name.removeprefix("timm:"))
    if name not in RESNETS:
        close = difflib.get_close_matches(name, TRUNKS, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no trunk {name!r}: did you mean {close!r}? (or timm:NAME for a model of timm)")
    block, depths, widths = RESNETS[name]
    return ResNet(block, depths, widths, **options)


def pooled(trunk: nn.Module, images: Tensor) -> Tensor:
    """The mean of a trunk's map over its places, (n, C)."""
    return torch.flatten(trunk(images).mean(dim=(2, 3)), 1)
