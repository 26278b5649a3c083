"""MTCNN of facenet-pytorch, whose weights lie in its wheel: five points a face, MIT."""

from __future__ import annotations

import cv2
import numpy as np

from av_deepfake.landmarks.found import Faces, faces


class MTCNN:
    """Finds every face of a picture, with the middles of the eyes, the nose tip and the corners of the mouth.

    Args:
        every: frames between two looks. Every fifth is steadier than every single one, for the interpolation averages.
        min_size: side of the smallest face in pixels of the searched picture.
        longest: larger pictures are shrunk to this side for the search.
        threshold: a face counts from this score on.
        device: where the networks run: auto, cpu, cuda, mps.
    """

    source, licence = "mtcnn5", "MIT"

    def __init__(
        self, every: int = 5, min_size: int = 40, longest: int = 640, threshold: float = 0.9, device: str = "cpu"
    ) -> None:
        import facenet_pytorch

        from shared_utils.distributed import choose_device

        self.every, self.min_size, self.longest, self.threshold = every, min_size, longest, threshold
        self._network = facenet_pytorch.MTCNN(
            min_face_size=min_size, keep_all=True, device=choose_device(device)
        ).eval()

    def find(self, image: np.ndarray) -> Faces:
        """The faces of a picture, uint8 RGB (h, w, 3)."""
        factor = max(1.0, max(image.shape[:2]) / self.longest)
        if factor > 1:
            size = max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if min(image.shape[:2]) < self.min_size:
            return faces([], [], 5)  # smaller than any face that is looked for; the package raises here
        try:
            boxes, scores, points = self._network.detect(image, landmarks=True)  # pyright: ignore
        except (ValueError, RuntimeError) as error:
            # Where no window gets through to a later network, the package concatenates nothing.
            if "non-empty" not in str(error):
                raise
            return faces([], [], 5)
        if boxes is None:
            return faces([], [], 5)
        sure = np.asarray(scores, np.float64) >= self.threshold
        moved = (np.asarray(points, np.float64)[sure] + 0.5) * factor - 0.5
        return faces(np.asarray(boxes, np.float64)[sure] * factor, moved, 5)

    def refine(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The points as they are."""
        return points
