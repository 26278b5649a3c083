"""Pairs of frames to train on: two augmented frames of a video with their targets, reproducible to the batch."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mot_occlusion.data.images import read_image, to_tensor
from mot_occlusion.data.mot import Video
from mot_occlusion.data.transforms import AffineRanges, of_pixels, scale_colour, warp_boxes, warp_image
from mot_occlusion.decode import Letterbox
from mot_occlusion.targets import detection_targets
from shared_utils import UserError

log = logging.getLogger(__name__)
Batch = dict[str, Any]
# Half of the second frame's targets are never looked at: only the first one is supervised for detection.
_OF_PREVIOUS = ("ind", "reg_mask", "reid_mask")


class TrainingPairs(Dataset):
    """Two augmented frames of one video, at most ``max_gap`` apart, or, for a share of ``negative_fraction``, of two videos.

    A single image is paired with a second augmentation of itself. Indexed by (epoch, index). A frame that cannot be read
    is named and another one taken. Identities are nowhere in here.
    """

    def __init__(
        self,
        videos: list[Video],
        input_size: tuple[int, int],
        seed: int,
        max_gap: int = 10,
        negative_fraction: float = 0.0,
        affine: AffineRanges | None = None,
        colour: float = 0.5,
        flip: float = 0.5,
        max_objects: int = 500,
        min_visibility: float = 0.0,
        min_reid_visibility: float = 0.0,
        clip_boxes: bool = False,
    ) -> None:
        self.videos, self.input_size, self.seed = videos, input_size, seed
        self.max_gap, self.negative_fraction = max_gap, negative_fraction
        self.affine, self.colour, self.flip = affine, colour, flip
        self.max_objects, self.clip_boxes = max_objects, clip_boxes
        self.min_visibility, self.min_reid_visibility = min_visibility, min_reid_visibility
        self.places = [(number, frame) for number, video in enumerate(videos) for frame in range(len(video))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        epoch, index = place
        rng = np.random.default_rng((self.seed, epoch, index))
        for _ in range(10):
            try:
                return self._pair(*self.places[index], rng)
            except UserError as error:
                log.warning("skipped: %s", error)
                index = int(rng.integers(len(self)))
        raise UserError("ten frames in a row cannot be read: check the data set")

    def _pair(self, number: int, frame: int, rng: np.random.Generator) -> Batch:
        video = self.videos[number]
        negative = len(self.videos) > 1 and rng.random() < self.negative_fraction
        if negative:
            other = self.videos[(number + int(rng.integers(1, len(self.videos)))) % len(self.videos)]
            second = int(rng.integers(len(other)))
        else:
            other = video
            low, high = max(0, frame - self.max_gap), min(len(video) - 1, frame + self.max_gap)
            second = int(rng.integers(low, high + 1))
        flip = rng.random() < self.flip
        size = self.input_size
        first_affine = second_affine = None
        if self.affine is not None:
            first_affine = self.affine.draw(rng, size)
            second_affine = self.affine.perturb(first_affine, rng, size)
        image, targets = self._frame(video, frame, first_affine, flip, rng)
        image_previous, previous = self._frame(other, second, second_affine, flip, rng)
        return {
            "image": image,
            "image_previous": image_previous,
            "targets": targets,
            "targets_previous": {name: previous[name] for name in _OF_PREVIOUS},
            "negative": negative,
        }

    def _frame(
        self, video: Video, frame: int, affine: Any, flip: bool, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
        height, width = self.input_size
        image = read_image(video.images[frame])
        factors = rng.uniform(1 - self.colour, 1 + self.colour, 2)
        if self.colour:
            image = scale_colour(image, *factors)
        box = Letterbox.of(image.shape[:2], self.input_size)
        boxes, visibility = video.boxes[frame], video.visibility[frame]
        if self.clip_boxes:
            limit = np.array([image.shape[1], image.shape[0]], np.float32)
            low, high = np.clip(boxes[:, :2], 0, limit), np.clip(boxes[:, :2] + boxes[:, 2:], 0, limit)
            boxes = np.concatenate((low, high - low), 1)
        corners = box.boxes_to_input(np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1))
        image = box(image)
        if affine is not None:
            matrix = affine.matrix(self.input_size)
            image = warp_image(image, of_pixels(matrix))
            corners, rows = warp_boxes(corners, matrix, affine.angle)
            visibility = visibility[rows]
        # Nobody is taught whose whole box has left the frame.
        inside = (corners[:, 2] > 0) & (corners[:, 3] > 0) & (corners[:, 0] < width) & (corners[:, 1] < height)
        corners, visibility = corners[inside], visibility[inside]
        if flip:
            # Pixel i goes to width - 1 - i, so its edges i and i + 1 go to width - i and width - 1 - i.
            image = image[:, ::-1]
            corners = np.stack((width - corners[:, 2], corners[:, 1], width - corners[:, 0], corners[:, 3]), 1)
        low, high = corners[:, :2], corners[:, 2:]
        normalised = np.concatenate(((low + high) / 2, high - low), 1) / np.array([width, height] * 2, np.float32)
        map_size = (height // 4, width // 4)
        targets = detection_targets(normalised, map_size, self.max_objects, visible=visibility >= self.min_visibility)
        kept = targets.pop("kept")
        # Two people in one cell share one embedding: nothing can tell them apart, so one of them stands for both.
        clear = targets["reg_mask"].copy()
        clear[: len(kept)] &= visibility[kept] >= self.min_reid_visibility
        used = np.flatnonzero(clear)
        targets["reid_mask"] = np.zeros_like(targets["reg_mask"])
        targets["reid_mask"][used[np.unique(targets["ind"][used], return_index=True)[1]]] = True
        return to_tensor(image), targets
