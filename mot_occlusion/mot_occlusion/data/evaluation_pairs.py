"""Pairs of frames to evaluate on: a frame and a later one under a new light."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from mot_occlusion.data.images import read_image, to_tensor
from mot_occlusion.data.mot import Video
from mot_occlusion.data.transforms import relight
from mot_occlusion.decode import Letterbox


class EvaluationPairs(Dataset):
    """Frames with boxes and identities, and the frame ``gap`` later under a new light: for average precision and rank-1.

    Every ``stride``-th frame. Single images have no later frame and are compared with themselves; videos read without
    identities have numbers in their place.
    """

    def __init__(
        self, videos: list[Video], input_size: tuple[int, int], gap: int = 10, stride: int = 10, seed: int = 0
    ) -> None:
        self.videos, self.input_size, self.gap, self.seed = videos, input_size, gap, seed
        self.places = [
            (number, frame)
            for number, video in enumerate(videos)
            for frame in range(0, max(1, len(video) - gap), stride if len(video) > 1 else 1)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, frame = self.places[index]
        video = self.videos[number]
        later = min(frame + self.gap, len(video) - 1)
        rng = np.random.default_rng((self.seed, index))
        image, image_later = read_image(video.images[frame]), relight(read_image(video.images[later]), rng)
        box = Letterbox.of(image.shape[:2], self.input_size)

        def side(at: int) -> dict[str, torch.Tensor]:
            boxes = video.boxes[at]
            corners = box.boxes_to_input(np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1))
            ids = np.arange(len(boxes)) if video.ids is None else video.ids[at]
            visibility = video.visibility[at]
            return {
                name: torch.from_numpy(value)
                for name, value in zip(
                    ("boxes", "ids", "visibility"), (corners, ids.astype(np.int64), visibility), strict=True
                )
            }

        return {
            "image": to_tensor(box(image)),
            "image_later": to_tensor(box(image_later)),
            "now": side(frame),
            "later": side(later),
        }
