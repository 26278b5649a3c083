"""RetinaFace: from the network's answers to faces. The network itself, under the published names, is ``models.retinaface``.

Anchors of three strides with two sizes each; boxes and points are offsets from them in units of their sides times 0.1,
sizes the exponential of 0.2 times an answer. Everything is relative to the picture (0..1) until the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from ict_deepfake.faces.found import Faces, check_picture, faces, no_faces
from ict_deepfake.models.retinaface import RetinaFace as Network
from shared_utils import UserError
from shared_utils.checkpoint import import_state_dict, load_tensors

STEPS = (8, 16, 32)
SIDES = ((16, 32), (64, 128), (256, 512))
VARIANCE = (0.1, 0.2)
MEAN_BGR = (104.0, 117.0, 123.0)


@lru_cache(maxsize=32)
def anchors(height: int, width: int) -> torch.Tensor:
    """The anchors of a picture.

    Args:
        height, width: of the picture in pixels.

    Returns:
        (a, 4) float32: centre x, centre y, width, height, relative to the picture; by stride, row, column, size.
    """
    parts = []
    for step, sides in zip(STEPS, SIDES, strict=True):
        rows, columns = -(-height // step), -(-width // step)
        x = (np.arange(columns) + 0.5) * step / width
        y = (np.arange(rows) + 0.5) * step / height
        grid = np.empty((rows, columns, len(sides), 4))
        grid[..., 0], grid[..., 1] = x[None, :, None], y[:, None, None]
        grid[..., 2], grid[..., 3] = np.divide(sides, width), np.divide(sides, height)
        parts.append(grid.reshape(-1, 4))
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def decode_boxes(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Boxes (..., a, 4) x0 y0 x1 y1, relative to the picture, of the network's offsets (..., a, 4)."""
    centres = priors[:, :2] + offsets[..., :2] * VARIANCE[0] * priors[:, 2:]
    sizes = priors[:, 2:] * torch.exp(offsets[..., 2:] * VARIANCE[1])
    return torch.cat([centres - sizes / 2, centres + sizes / 2], dim=-1)


def decode_points(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Five points (..., a, 10) x y x y ..., relative to the picture, of the network's offsets (..., a, 10)."""
    pairs = offsets.unflatten(-1, (5, 2))
    return (priors[:, None, :2] + pairs * VARIANCE[0] * priors[:, None, 2:]).flatten(-2)


class RetinaFace:
    """Finds every face of a picture.

    Args:
        network: with weights, see ``load_network``.
        min_size: smaller faces are left out.
        device: where the network runs.
        threshold: a face counts from this score on; the published code goes on from 0.02, for it takes the best face.
        overlap: of two boxes that overlap more than this the better one stays.
    """

    def __init__(
        self,
        network: Network,
        min_size: int = 0,
        device: str | torch.device = "cpu",
        threshold: float = 0.6,
        overlap: float = 0.4,
    ) -> None:
        self.network = network.to(device).eval()
        self.min_size, self.threshold, self.overlap, self.device = min_size, threshold, overlap, torch.device(device)

    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """The faces of each picture (uint8 RGB (h, w, 3), sizes may differ)."""
        return [self._detect(check_picture(image)) for image in images]

    @torch.inference_mode()
    def _detect(self, image: np.ndarray) -> Faces:
        height, width = image.shape[:2]
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.float32) - np.array(MEAN_BGR, np.float32)
        answers = self.network(torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self.device))
        offsets, scores, points = (answer[0].cpu() for answer in answers)
        return select(offsets, scores, points, (height, width), self.threshold, self.overlap, self.min_size)


def load_network(weights: str | Path) -> Network:
    """The network of a published file, ``Resnet50_Final.pth`` or ``mobilenet0.25_Final.pth``.

    Raises:
        UserError: the file is missing, damaged, or of another network (every missing and unexpected name is listed).
    """
    content = load_tensors(weights)
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    if "fpn.output1.0.weight" not in state:
        raise UserError(f"{weights} is not RetinaFace: give Resnet50_Final.pth or mobilenet0.25_Final.pth")
    return network_of(state, str(weights))


def network_of(state: Mapping[str, torch.Tensor], source: str) -> Network:
    """The network of a published state dict; ``source`` names it in errors."""
    network = Network("resnet50" if "body.conv1.weight" in state else "mobile0.25")
    import_state_dict(network, state, source=source)
    return network.eval()


def select(
    offsets: torch.Tensor,
    scores: torch.Tensor,
    points: torch.Tensor,
    size: tuple[int, int],
    threshold: float = 0.02,
    overlap: float = 0.4,
    min_size: float = 0,
    candidates: int = 5000,
    keep: int = 750,
) -> Faces:
    """The faces among the network's answers for one picture.

    Args:
        offsets: (a, 4) of the boxes.
        scores: (a,) that it is a face, 0..1.
        points: (a, 10) offsets of the points.
        size: (height, width) of the picture.
        threshold: answers with a lower score are dropped.
        overlap: of two boxes that overlap more (intersection over union), the better one stays.
        min_size: boxes with a shorter side in pixels are dropped.
        candidates: so many of the best answers are compared.
        keep: at most so many faces.
    """
    from torchvision.ops import nms

    priors = anchors(*size)
    likely = torch.nonzero(scores > threshold)[:, 0]
    # The order of equal scores is that of the anchors, so that the result does not depend on the sorting.
    likely = likely[torch.argsort(scores[likely], descending=True, stable=True)][:candidates]
    if not len(likely):
        return no_faces()
    height, width = size
    boxes = decode_boxes(offsets[likely], priors[likely]) * torch.tensor([width, height, width, height])
    places = decode_points(points[likely], priors[likely]).unflatten(-1, (5, 2)) * torch.tensor([width, height])
    kept = nms(boxes, scores[likely], overlap)[:keep]
    kept = kept[(boxes[kept, 2:] - boxes[kept, :2]).amin(dim=1) >= min_size]
    return faces(boxes[kept].numpy(), scores[likely][kept].numpy(), places[kept].numpy())
