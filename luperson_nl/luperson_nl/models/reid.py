"""The networks of fine-tuning: BoT and AGW, one trunk and one head each, and the way to all three."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from luperson_nl.models.mgn import MGN
from luperson_nl.models.neck import EmbeddingHead
from luperson_nl.models.trunks import build_trunk
from shared_utils import UserError

#: Non-local blocks of AGW in the four stages, as in fast-reid; trunks with basic blocks have none there.
NON_LOCAL = {"resnet50": (0, 2, 3, 0), "resnet101": (0, 2, 9, 0), "resnet152": (0, 4, 12, 0)}
KINDS = ("bot", "agw", "mgn")


class Baseline(nn.Module):
    """A trunk with stride 1 in its last stage, and one head: BoT (Luo et al., 2019); with non-local blocks and GeM AGW.

    Entries are called as in fast-reid: ``backbone.*``, ``heads.*``, ``heads_extra_bn.*``.

    Args:
        num_classes: identities.
        trunk: a name of ``models.trunks``.
        embedding_dim, pool, classifier, neck_feature: of the head; see ``EmbeddingHead``.
        extra_bn: a batch norm on the last map, for trunks that were pre-trained without labels.
        non_local: blocks in the four stages of a ResNet.
        inner: channels inside of them.
        last_stride: of the last stage of a ResNet; 2 for networks that were trained so.
    """

    def __init__(
        self,
        num_classes: int,
        trunk: str = "resnet50",
        embedding_dim: int = 0,
        pool: str = "mean",
        classifier: str = "linear",
        neck_feature: str = "before",
        extra_bn: bool = False,
        non_local: tuple[int, ...] = (0, 0, 0, 0),
        inner: int = 1,
        last_stride: int = 1,
    ) -> None:
        super().__init__()
        if trunk.startswith("timm:"):
            self.backbone = build_trunk(trunk)
        else:
            self.backbone = build_trunk(trunk, last_stride=last_stride, non_local=non_local, inner=inner)
        features: Any = self.backbone.num_features
        self.heads_extra_bn = nn.BatchNorm2d(features) if extra_bn else nn.Identity()
        self.heads = EmbeddingHead(features, num_classes, embedding_dim, pool, classifier, neck_feature)
        self.num_features = self.heads.num_features

    def trunk_parts(self) -> list[nn.Module]:
        """What pre-trained weights go to, and what is frozen while the head begins."""
        return [self.backbone]

    def load_trunk(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a pre-trained trunk; non-local blocks, which it doesn't have, keep theirs."""
        self.backbone.load_state_dict(dict(state), strict=False)

    def forward(self, images: Tensor) -> Tensor | dict[str, dict[str, Tensor]]:
        """Normalised images (n, 3, h, w) -> in training what the head gives, as ``heads``; else (n, num_features)."""
        maps = self.heads_extra_bn(self.backbone(images))
        return {"heads": self.heads(maps)} if self.training else self.heads.feature(maps)


Reid = Baseline | MGN


def build_reid(kind: str = "bot", trunk: str = "resnet50", num_classes: int = 751, **options: Any) -> Reid:
    """A re-identification network with fresh weights.

    Args:
        kind: ``bot``, ``agw`` or ``mgn``.
        trunk: of ``models.trunks.build_trunk``.
        num_classes: identities.
        options: of ``Baseline`` or ``MGN``, beyond what the kind sets (``extra_bn``, ``embedding_dim``, ...).

    Raises:
        UserError: an unknown kind, trunk or option.
    """
    if kind not in KINDS:
        raise UserError(f"model {kind!r} is not known: use {', '.join(KINDS)}")
    try:
        if kind == "mgn":
            return MGN(num_classes, trunk, **options)
        if kind == "agw":
            options = {"pool": "gem", "non_local": NON_LOCAL.get(trunk, (0, 0, 0, 0)), **options}
        return Baseline(num_classes, trunk, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise UserError(f"{kind} has no such option: {str(error).split(') ')[-1]}") from error
