"""From the network's raw maps to boxes, embeddings and occlusion centres; from network to image pixels and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def peaks(heatmap: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``k`` highest local maxima (3 x 3) of a raw heatmap.

    heatmap: (B, classes, h, w) logits. Returns scores, flat cells and classes, each (B, k), by falling score.
    """
    probability = torch.sigmoid(heatmap.float())
    probability = probability * (F.max_pool2d(probability, 3, stride=1, padding=1) == probability)
    scores, place = probability.flatten(1).topk(min(k, probability[0].numel()))
    cells = heatmap.shape[2] * heatmap.shape[3]
    return scores, place % cells, place // cells


def gather_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """(B, c, h, w) at flat cells (B, k) -> (B, k, c)."""
    flat = maps.flatten(2)
    return flat.gather(2, cells[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def embeddings_at(maps: Tensor, cells: Tensor) -> Tensor:
    """Unit embeddings at flat cells: gathered, then normalised, (B, c, h, w) and (B, k) -> (B, k, c)."""
    return F.normalize(gather_cells(maps, cells).float(), dim=2)


class DecodedBoxes(NamedTuple):
    """boxes: (B, k, 4) xyxy in cells. scores, classes and (flat) cells: (B, k), by falling score."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    cells: Tensor


def decode_boxes(hm: Tensor, wh: Tensor, reg: Tensor | None = None, k: int = 500) -> DecodedBoxes:
    """Boxes at the peaks of the centre heatmap.

    wh: (B, 4, h, w) left, top, right, bottom distances, or (B, 2, h, w) width and height (older files), in cells.
    reg: (B, 2, h, w) centre offsets; without them the centre is the middle of the cell.
    """
    scores, cells, classes = peaks(hm, k)
    width = hm.shape[3]
    centres = torch.stack((cells % width, cells // width), 2).float()
    centres = centres + (0.5 if reg is None else gather_cells(reg, cells).float())
    extent = gather_cells(wh, cells).float()
    if extent.shape[2] == 2:
        extent = torch.cat((extent, extent), 2) / 2
    boxes = torch.cat((centres - extent[..., :2], centres + extent[..., 2:]), 2)
    return DecodedBoxes(boxes, scores, classes, cells)


def decode_occlusions(occlusion: Tensor, offset: Tensor | None = None, k: int = 2000) -> tuple[Tensor, Tensor]:
    """Occlusion centres at the peaks of their heatmap: (B, k, 2) x, y in cells, and scores (B, k)."""
    scores, cells, _ = peaks(occlusion, k)
    width = occlusion.shape[3]
    centres = torch.stack((cells % width, cells // width), 2).float()
    return centres + (0.5 if offset is None else gather_cells(offset, cells).float()), scores


class Letterbox(NamedTuple):
    """How an image of (height, width) was fitted into a network input, as published.

    ratio: network pixels an image pixel; left, top: border in network pixels before rounding.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    ratio: float
    left: float
    top: float

    @classmethod
    def of(cls, image_size: tuple[int, int], input_size: tuple[int, int]) -> Letterbox:
        ratio = min(input_size[0] / image_size[0], input_size[1] / image_size[1])
        height, width = round(image_size[0] * ratio), round(image_size[1] * ratio)
        return cls(image_size, input_size, ratio, (input_size[1] - width) / 2, (input_size[0] - height) / 2)

    def __call__(self, image: np.ndarray, border: float = 127.5) -> np.ndarray:
        """(H0, W0, 3) uint8 -> (H, W, 3) uint8, resized by area, on a grey border."""
        import cv2

        size = (round(self.image_size[1] * self.ratio), round(self.image_size[0] * self.ratio))
        resized = image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # A border of an odd number of pixels is one wider on the right and at the bottom.
        top, bottom = round(self.top - 0.1), round(self.top + 0.1)
        left, right = round(self.left - 0.1), round(self.left + 0.1)
        return cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(border,) * 3)

    def boxes_to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Pixels of the image (..., 2 n) x, y, ... -> pixels of the network input."""
        border = np.array([self.left, self.top], boxes.dtype)
        return boxes * boxes.dtype.type(self.ratio) + np.tile(border, boxes.shape[-1] // 2)

    def cells_to_image(self, points: np.ndarray, map_size: tuple[int, int]) -> np.ndarray:
        """Cells (..., 2 n) x, y, ... of a map (h, w) -> pixels of the image, by the published inverse affine.

        It is centred, with scale max(W / H H0, W0) / w, and so differs from the letterbox by its rounding to pixels.
        """
        height, width = self.image_size
        scale = max(self.input_size[1] / self.input_size[0] * height, width) / map_size[1]
        centre = np.array([width / 2, height / 2])
        half = np.array([map_size[1] / 2, map_size[0] / 2])
        repeats = points.shape[-1] // 2
        return ((points - np.tile(half, repeats)) * scale + np.tile(centre, repeats)).astype(np.float32)
