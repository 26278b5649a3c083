"""Anchors and box deltas as the published models have them (mmdet 2.11 ``AnchorGenerator``, ``DeltaXYWHBBoxCoder``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection import _utils as detection_utils
from torchvision.models.detection import anchor_utils
from torchvision.models.detection.image_list import ImageList


class AnchorGenerator(anchor_utils.AnchorGenerator):
    """Anchors of one size a level, ``scale`` times its stride, not rounded, centred on the corner of each cell.

    torchvision rounds them, and derives the stride from the sizes of image and map: 800 / 13 rows is 61, not 64.

    Args:
        strides: of the levels.
        scale: side of an anchor in cells.
        ratios: height / width.
    """

    def __init__(self, strides: Sequence[int], scale: float = 8.0, ratios: Sequence[float] = (0.5, 1.0, 2.0)) -> None:
        self.strides = tuple(strides)
        super().__init__(tuple((scale * stride,) for stride in strides), (tuple(ratios),) * len(self.strides))

    def generate_anchors(
        self,
        scales: Sequence[float],
        aspect_ratios: Sequence[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008 (torchvision's signature)
    ) -> Tensor:
        """(ratios, 4) around the origin."""
        root = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()
        sides = torch.as_tensor(scales, dtype=dtype, device=device)
        width, height = (sides / root[:, None]).flatten(), (sides * root[:, None]).flatten()
        return torch.stack([-width, -height, width, height], dim=1) / 2

    def of_maps(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Anchors of maps of these sizes: (h w ratios, 4) each, xyxy pixels, by row, column, ratio."""
        # Never in half precision, whatever the maps are: pixels beyond 256 would be rounded.
        self.set_cell_anchors(torch.float32, device)
        strides = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        return self.grid_anchors([list(size) for size in sizes], strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """The anchors of all levels, for each image."""
        sizes = [(x.shape[-2], x.shape[-1]) for x in feature_maps]
        anchors = torch.cat(self.of_maps(sizes, feature_maps[0].device))
        return [anchors] * len(image_list.image_sizes)


class BoxCoder(detection_utils.BoxCoder):
    """Deltas to boxes and back, in float32; the size's deltas are limited to +-log(1000 / 16) in both directions."""

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """(N, 4 K) deltas of (N, 4) boxes -> (N, 4 K) boxes, not clipped to the image."""
        deltas = rel_codes.float().unflatten(1, (-1, 4))
        low = -self.bbox_xform_clip
        size = torch.stack(
            [deltas[..., 2].clamp(min=low * self.weights[2]), deltas[..., 3].clamp(min=low * self.weights[3])], -1
        )
        return super().decode_single(torch.cat([deltas[..., :2], size], dim=-1).flatten(1), boxes.float())
