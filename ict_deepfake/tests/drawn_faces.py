"""Pictures with blobs for faces, a finder of them, and a network of random weights, to test the way and not the scores."""

import cv2
import numpy as np
import torch

from ict_deepfake.faces import TEMPLATE, Faces, no_faces
from ict_deepfake.models.ict import ICT
from ict_deepfake.pretrained import Detector

UNIT = (np.array(TEMPLATE) - 158) / 317


def drawn_faces(*places, size=(120, 160), seed=0):
    """A picture with a bright blob for each face: centre x, y and side."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 120, (6, 8, 3), np.uint8), size[::-1])
    for x, y, side in places:
        cv2.ellipse(image, (x, y), (side // 4, side // 3), 0, 0, 360, (255, 230, 210), -1)
    return image


class BlobFinder:
    """Finds the blobs of ``drawn_faces``."""

    def detect(self, images):
        found = []
        for image in images:
            bright = (image.min(axis=2) > 190).astype(np.uint8)
            _, _, stats, centres = cv2.connectedComponentsWithStats(bright)
            spots = [(centre, row[2] * 2) for row, centre in zip(stats[1:], centres[1:], strict=True) if row[4] > 20]
            spots.sort(key=lambda spot: -spot[1])
            if not spots:
                found.append(no_faces())
                continue
            boxes = np.array([[*(centre - side / 3), *(centre + side / 3)] for centre, side in spots], np.float32)
            points = np.array([UNIT * side * 1.6 + centre for centre, side in spots], np.float32)
            found.append(Faces(boxes, np.full(len(spots), 0.99, np.float32), points))
        return found


def tiny_detector():
    """ICT of random weights."""
    torch.manual_seed(0)
    return Detector(ICT(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2))
