"""From a frame to detections: people, their embeddings, and where they hide one another."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mot_occlusion.decode import Letterbox, decode_boxes, decode_occlusions, embeddings_at
from mot_occlusion.detections import Detections
from mot_occlusion.models.tracking_model import TrackingModel
from shared_utils import UserError, distributed
from shared_utils.checkpoint import weights_digest

_PRECISIONS = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}


class Detector:
    """A network applied to whole frames, with its letterbox before and its decoding after. See ``pretrained.load``.

    Args:
        model: the network and its facts.
        device: ``auto`` or a torch device.
        precision: ``32``, ``bf16`` or ``16`` (autocast).
        input_size: (height, width) of the network input, multiples of 32; what it was trained for where None.
        min_score: of boxes that are returned.
        num_people: the most boxes that are looked at.
        num_occlusions: the most occlusion centres that are looked at.

    Raises:
        UserError: another precision, or an input size that is not a multiple of 32.
    """

    def __init__(
        self,
        model: TrackingModel,
        device: str = "auto",
        precision: Literal["32", "bf16", "16"] = "32",
        input_size: tuple[int, int] | None = None,
        min_score: float = 0.1,
        num_people: int = 500,
        num_occlusions: int = 2000,
    ) -> None:
        if precision not in _PRECISIONS:
            raise UserError(f"precision {precision!r}: use one of {', '.join(_PRECISIONS)}")
        height, width = input_size or model.input_size
        self.input_size = (height, width)
        if any(side % 32 or side < 32 for side in self.input_size):
            raise UserError(f"input size {self.input_size}: height and width must be multiples of 32")
        self.device = distributed.choose_device(device)
        self.model, self.network = model, model.network.to(self.device).eval()
        if self.device.type == "cuda":
            self.network = self.network.to(memory_format=torch.channels_last)
        self.untrained = set(model.untrained)
        self.precision, self.min_score = precision, min_score
        self.num_people, self.num_occlusions = num_people, num_occlusions

    def describe(self) -> dict[str, Any]:
        """Everything that its detections depend on, besides the frame."""
        return {
            "weights": weights_digest(self.model),
            "input_size": self.input_size,
            "precision": self.precision,
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the network and its facts: ``model.safetensors`` and ``config.json``, which ``pretrained.load`` reads."""
        self.model.save_pretrained(folder)

    @torch.inference_mode()
    def maps(self, frame: np.ndarray) -> tuple[dict[str, torch.Tensor], Letterbox]:
        """The raw maps (1, c, h, w) of a frame (H0, W0, 3) uint8 RGB, and how it was fitted into the network input."""
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise UserError(f"a frame is (height, width, 3) uint8 RGB, got {frame.shape} {frame.dtype}")
        letterbox = Letterbox.of(frame.shape[:2], self.input_size)
        image = torch.from_numpy(letterbox(frame)).to(self.device).permute(2, 0, 1)[None].float() / 255
        kind = _PRECISIONS[self.precision]
        with nullcontext() if kind is None else torch.autocast(self.device.type, kind):
            return self.network(image.contiguous(memory_format=torch.channels_last)), letterbox

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray) -> Detections:
        """The detections of a frame (H0, W0, 3) uint8 RGB, by falling score, in pixels of the frame."""
        return self.decode(*self.maps(frame))

    @torch.inference_mode()
    def decode(self, maps: dict[str, torch.Tensor], letterbox: Letterbox) -> Detections:
        """What ``maps`` returned, as detections in pixels of the frame."""
        trained = {name: value for name, value in maps.items() if name not in self.untrained}
        if "hm" not in trained or "wh" not in trained:
            raise UserError(
                "this network has no trained detection heads: train it (model.init) before tracking with it"
            )
        map_size = (maps["hm"].shape[2], maps["hm"].shape[3])
        decoded = decode_boxes(maps["hm"], maps["wh"], trained.get("reg"), self.num_people)
        sure = int((decoded.scores[0] >= self.min_score).sum())  # scores fall
        boxes = letterbox.cells_to_image(decoded.boxes[0, :sure].cpu().numpy(), map_size)
        scores = decoded.scores[0, :sure].cpu().numpy()
        embeddings = centres = centre_scores = None
        if "id" in trained:
            embeddings = embeddings_at(maps["id"], decoded.cells[:, :sure])[0].cpu().numpy()
        if "occlusion" in trained:
            places, confidence = decode_occlusions(
                maps["occlusion"], trained.get("occlusion_offset"), self.num_occlusions
            )
            sure = int((confidence[0] >= self.min_score).sum())
            centres = letterbox.cells_to_image(places[0, :sure].cpu().numpy(), map_size)
            centre_scores = confidence[0, :sure].cpu().numpy()
        return Detections(boxes, scores, embeddings, centres, centre_scores)

    @torch.inference_mode()
    def embed(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Unit embeddings (N, D) of given boxes (N, 4) xyxy in pixels of the frame (H0, W0, 3) uint8 RGB."""
        maps, letterbox = self.maps(frame)
        height, width = maps["hm"].shape[2:]
        corners = letterbox.boxes_to_input(np.asarray(boxes, np.float32).reshape(-1, 4)) / 4
        x = np.clip((corners[:, 0] + corners[:, 2]) / 2, 0, width - 1).astype(np.int64)
        y = np.clip((corners[:, 1] + corners[:, 3]) / 2, 0, height - 1).astype(np.int64)
        cells = torch.from_numpy(y * width + x)[None].to(self.device)
        return embeddings_at(maps["id"], cells)[0].cpu().numpy()

    def occlusion_map(self, frame: np.ndarray) -> np.ndarray:
        """How likely every pixel of the frame (H0, W0, 3) is the centre of an occlusion: (H0, W0) float32 in [0, 1]."""
        import cv2

        maps, letterbox = self.maps(frame)
        if "occlusion" not in maps or "occlusion" in self.untrained:
            raise UserError("this network has no trained occlusion head: train it (model.init) first")
        probability = torch.sigmoid(maps["occlusion"][0, 0].float()).cpu().numpy()
        corners = letterbox.cells_to_image(np.array([[0.5, 0.5, 1.5, 1.5]]), probability.shape)[0]
        scale = corners[2] - corners[0]
        # Pixel and cell centres: cell (0, 0) lies at corners[:2].
        to_image = np.array([[scale, 0, corners[0] - 0.5], [0, scale, corners[1] - 0.5]], np.float64)
        return cv2.warpAffine(probability, to_image, frame.shape[1::-1], flags=cv2.INTER_LINEAR)
