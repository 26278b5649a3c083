"""Multiple granularities (Wang et al., 2018), as fast-reid builds it: three branches, eight heads."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from luperson_nl.models.neck import EmbeddingHead
from luperson_nl.models.trunks import ResNet, build_trunk
from shared_utils import UserError

#: The heads in the order of the feature: global ones, halves of branch 2, thirds of branch 3.
HEADS = ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")


class MGN(nn.Module):
    """Shared layers up to the first block of layer3, then three copies of the rest, the last stage with stride 1.

    Entries are called as in fast-reid: ``backbone.{0,1,4,5,6}``, ``b1.0`` (layer3[1:]), ``b1.1`` (layer4), ``b1_head``.

    Args:
        num_classes: identities.
        trunk: a ResNet of ``models.trunks``.
        embedding_dim: of every head.
        pool, classifier, neck_feature: of the heads; see ``EmbeddingHead``.
        extra_bn: a batch norm on the last map of each branch, for trunks that were pre-trained without labels.
    """

    def __init__(
        self,
        num_classes: int,
        trunk: str = "resnet50",
        embedding_dim: int = 256,
        pool: str = "gem_learned",
        classifier: str = "circle",
        neck_feature: str = "after",
        extra_bn: bool = False,
    ) -> None:
        super().__init__()
        if trunk.startswith("timm:"):
            raise UserError(
                f"mgn cuts a ResNet into pieces and {trunk} is none: use resnet18 to resnet152, or bot or agw"
            )
        net = build_trunk(trunk, last_stride=1)
        assert isinstance(net, ResNet)
        layer1, layer2, layer3, layer4 = net.stages
        assert isinstance(layer3, nn.Sequential)
        self.backbone = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, layer1, layer2, layer3[0])
        branch = nn.Sequential(nn.Sequential(*list(layer3)[1:]), layer4)
        for name in ("b1", "b2", "b3"):
            self.add_module(name, copy.deepcopy(branch))
            if extra_bn:
                self.add_module(f"heads_extra_bn_{name}", nn.BatchNorm2d(net.num_features))
        self.extra_bn = extra_bn
        for name in HEADS:
            head = EmbeddingHead(net.num_features, num_classes, embedding_dim, pool, classifier, neck_feature)
            self.add_module(f"{name}_head", head)
        self.num_features = len(HEADS) * (embedding_dim or net.num_features)

    def trunk_parts(self) -> list[nn.Module]:
        """What pre-trained weights go to, and what is frozen while the heads begin."""
        return [self.backbone, *(getattr(self, name) for name in ("b1", "b2", "b3"))]

    def load_trunk(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a ResNet (``conv1.weight`` .. ``layer4.*``) into every copy of its layers."""
        self.load_state_dict(self.split_trunk(state), strict=False)

    @staticmethod
    def split_trunk(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A ResNet's entries under the names of this network."""
        shared = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5"}
        split = {}
        for name, value in state.items():
            first, rest = name.split(".", 1)
            if first in shared:
                split[f"backbone.{shared[first]}.{rest}"] = value
            elif first == "layer3" and rest.startswith("0."):
                split[f"backbone.6.{rest[2:]}"] = value
            elif first in ("layer3", "layer4"):
                for branch in ("b1", "b2", "b3"):
                    if first == "layer3":
                        index, entry = rest.split(".", 1)
                        split[f"{branch}.0.{int(index) - 1}.{entry}"] = value
                    else:
                        split[f"{branch}.1.{rest}"] = value
        return split

    @staticmethod
    def join_trunk(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A ResNet's entries out of this network's names, with the copies of the first branch."""
        shared = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3.0"}
        joined = {}
        for name, value in state.items():
            parts = name.split(".")
            if parts[0] == "backbone" and parts[1] in shared:
                joined[".".join([shared[parts[1]], *parts[2:]])] = value
            elif name.startswith("b1.0."):
                joined[".".join(["layer3", str(int(parts[2]) + 1), *parts[3:]])] = value
            elif name.startswith("b1.1."):
                joined[".".join(["layer4", *parts[2:]])] = value
        return joined

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The map that each head sees."""
        shared = self.backbone(images)
        maps = {}
        for number, parts in ((1, 1), (2, 2), (3, 3)):
            x = getattr(self, f"b{number}")(shared)
            if self.extra_bn:
                x = getattr(self, f"heads_extra_bn_b{number}")(x)
            maps[f"b{number}"] = x
            if parts > 1:
                stripes = x.chunk(parts, dim=2)
                if len(stripes) < parts:
                    raise UserError(
                        f"images of {images.shape[2]}x{images.shape[3]} leave a map {x.shape[2]} high, which mgn cannot cut "
                        f"into {parts} stripes: use higher images, 384x128 as published"
                    )
                maps |= {f"b{number}{part}": stripe for part, stripe in enumerate(stripes, 1)}
        return maps

    def forward(self, images: Tensor) -> Tensor | dict[str, dict[str, Tensor]]:
        """Normalised images (n, 3, h, w) -> in training what each head gives, by its name; else (n, num_features)."""
        maps = self.maps(images)
        heads = {name: getattr(self, f"{name}_head") for name in HEADS}
        if self.training:
            return {name: head(maps[name]) for name, head in heads.items()}
        return torch.cat([head.feature(maps[name]) for name, head in heads.items()], dim=1)
