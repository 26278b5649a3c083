"""MTCNN of facenet-pytorch, whose weights lie in its wheel, behind an interface that has one shape for every case.

By itself the package answers with arrays of objects, with None where there is no face, with an exception for a batch of
different sizes and for a picture smaller than the smallest face, and with nothing at all for values in 0..1.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ict_deepfake.faces.found import Faces, check_picture, faces, no_faces

PIXELS = 2_000_000
"""How many pixels of pictures of one size go through the network at once."""


class MTCNN:
    """Finds every face of a picture.

    Args:
        min_size: side of the smallest face in pixels. It decides how long a picture takes: 20 is what the package looks
            for by itself, 40 takes a quarter of the time.
        device: where the networks run.
        threshold: a face counts from this score on.
        longest: pictures with a longer side are shrunk to it first, and the smallest face with them.
    """

    def __init__(
        self, min_size: int = 40, device: str | torch.device = "cpu", threshold: float = 0.9, longest: int | None = None
    ) -> None:
        import facenet_pytorch

        if min_size < 12:
            raise ValueError(f"the smallest face of MTCNN has 12 pixels, got {min_size}")
        self.min_size, self.threshold, self.longest = min_size, threshold, longest
        self._network = facenet_pytorch.MTCNN(min_face_size=min_size, keep_all=True, device=torch.device(device)).eval()

    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """The faces of each picture.

        Args:
            images: uint8 RGB (h, w, 3); their sizes may differ.

        Raises:
            ValueError: another kind of array.
        """
        found = [no_faces()] * len(images)
        shrunk = [self._shrunk(check_picture(image)) for image in images]
        for group in _by_size([image for image, _ in shrunk]):
            height, width = shrunk[group[0]][0].shape[:2]
            if min(height, width) < self.min_size:
                continue  # smaller than any face that is looked for; the package raises here
            together = max(1, PIXELS // (height * width))
            for start in range(0, len(group), together):
                part = group[start : start + together]
                for number, one in zip(part, self._detect([shrunk[number][0] for number in part]), strict=True):
                    factor = shrunk[number][1]
                    found[number] = Faces(one.boxes * factor, one.scores, (one.points + 0.5) * factor - 0.5)
        return found

    def _detect(self, images: list[np.ndarray]) -> list[Faces]:
        try:
            batches = self._network.detect(np.stack(images), landmarks=True)
        except (ValueError, RuntimeError) as error:
            # Where no window of any picture gets through to a later network, the package concatenates nothing.
            if "non-empty" not in str(error):
                raise
            return [no_faces()] if len(images) == 1 else [one for image in images for one in self._detect([image])]
        boxes, scores, points = batches  # pyright: ignore[reportAssignmentType]  # three, for landmarks are asked for
        results = []
        for one_boxes, one_scores, one_points in zip(boxes, scores, points, strict=True):
            if one_boxes is None:
                results.append(no_faces())
                continue
            # Arrays of objects: their type is only made here.
            every = faces(*(np.array(list(part), np.float32) for part in (one_boxes, one_scores, one_points)))
            results.append(every.take(every.scores >= self.threshold))
        return results

    def _shrunk(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        """The picture as it is searched, and the factor back to its own pixels."""
        height, width = image.shape[:2]
        if not self.longest or max(height, width) <= self.longest:
            return image, 1.0
        factor = max(height, width) / self.longest
        size = max(1, round(width / factor)), max(1, round(height / factor))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor


def _by_size(images: list[np.ndarray]) -> list[list[int]]:
    """The numbers of the pictures, those of one size together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        groups.setdefault(image.shape, []).append(number)
    return list(groups.values())
