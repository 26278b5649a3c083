"""dlib, extra ``[dlib]``: a detector, 68 points, and the descriptor of a plain face recogniser.

The 68-point model was trained on iBUG 300-W: **not for commercial use**, as its author notes. The detector and the
descriptor are in the public domain.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ict_deepfake.faces.found import Faces, check_picture, faces, five_of_68, no_faces, overlaps
from shared_utils import UserError

DESCRIPTOR = "dlib_face_recognition_resnet_model_v1.dat"
POINTS = "shape_predictor_68_face_landmarks.dat"
CUSTOMARY = 0.6
"""The distance of two descriptors below which they are customarily taken for one person."""


class Dlib:
    """Finds faces by dlib's histograms of gradients; the five points are those of the 68.

    Args:
        min_size: side of the smallest face; below 80 the picture is enlarged once, which takes four times as long.
    """

    def __init__(self, min_size: int = 40) -> None:
        _dlib()
        self._enlarge = 1 if min_size < 80 else 0
        self.min_size = min_size

    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """The faces of each picture (uint8 RGB (h, w, 3), sizes may differ)."""
        return [self._detect(np.ascontiguousarray(check_picture(image))) for image in images]

    def _detect(self, image: np.ndarray) -> Faces:
        boxes, scores = _found(image, self._enlarge)
        if not len(boxes):
            return no_faces()
        points = five_of_68(_points_in(image, boxes))
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= self.min_size
        return faces(boxes[large], scores[large], points[large])


def points_68(image: np.ndarray, found: Faces) -> np.ndarray:
    """The 68 points of faces that any detector has found.

    The model is tuned to the boxes of dlib's own detector: it looks again, and where it finds nothing, a square around
    eyes and nose stands in.

    Args:
        image: uint8 RGB (h, w, 3).
        found: its faces.

    Returns:
        (n, 68, 2) float32.
    """
    image = np.ascontiguousarray(check_picture(image))
    if not len(found.boxes):
        return np.zeros((0, 68, 2), np.float32)
    eyes = found.points[:, :2]
    centres = (eyes.sum(axis=1) + found.points[:, 2]) / 3
    half = 1.55 * np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1)[:, None]
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    for number, box in enumerate(boxes):
        own = _near(image, box)
        shared = overlaps(box[None], own)[0]
        if len(own) and shared.max() > 0.4:
            boxes[number] = own[shared.argmax()]
    return _points_in(image, boxes)


def descriptors(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What the recogniser says of each face; distances below about 0.6 are customarily one person.

    Args:
        image: uint8 RGB (h, w, 3).
        points: (n, 68, 2).

    Returns:
        (n, 128) float32.
    """
    dlib = _dlib()
    image = np.ascontiguousarray(check_picture(image))
    model = _model(DESCRIPTOR)
    described = []
    for one in np.asarray(points):
        low, high = np.floor(one.min(axis=0)), np.ceil(one.max(axis=0))
        # The recogniser aligns by points of the 68, the box does not matter.
        parts = dlib.points([dlib.point(round(float(x)), round(float(y))) for x, y in one])
        shape = dlib.full_object_detection(dlib.rectangle(*(int(value) for value in (*low, *high))), parts)
        described.append(np.array(model.compute_face_descriptor(image, shape), np.float32))
    return np.stack(described) if described else np.zeros((0, 128), np.float32)


def _dlib() -> Any:
    try:
        import dlib
    except ImportError:
        raise UserError(
            "dlib is not installed: add the extra, pip install 'tenpapers-ict-deepfake[dlib]' "
            "(its 68-point model is not for commercial use)"
        ) from None
    return dlib


@lru_cache(maxsize=4)
def _model(name: str) -> Any:
    """A model of the package face_recognition_models, which is found and not imported: it needs what Python no longer has."""
    dlib = _dlib()
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "models" / name
        if path.is_file():
            make = dlib.shape_predictor if name == POINTS else dlib.face_recognition_model_v1
            return make(str(path))
    raise UserError(f"{name} not found: install face-recognition-models, which is in the extra [dlib]")


@lru_cache(maxsize=1)
def _hog() -> Any:
    return _dlib().get_frontal_face_detector()


def _found(image: np.ndarray, enlarge: int) -> tuple[np.ndarray, np.ndarray]:
    rectangles, scores, _ = _hog().run(image, enlarge, 0.0)
    boxes = [[one.left(), one.top(), one.right() + 1, one.bottom() + 1] for one in rectangles]
    # dlib's score is a distance to a plane, 0 at the border of what counts.
    return np.array(boxes, np.float32).reshape(-1, 4), 1 / (1 + np.exp(-4 * np.array(scores, np.float32)))


def _near(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The boxes (n, 4) of dlib's detector in the surroundings of a face."""
    side = float(box[2] - box[0])
    height, width = image.shape[:2]
    x0, y0 = (max(0, int(value - side)) for value in box[:2])
    x1, y1 = min(width, int(box[2] + side)), min(height, int(box[3] + side))
    if x1 <= x0 or y1 <= y0:
        return np.zeros((0, 4), np.float32)
    own, _ = _found(np.ascontiguousarray(image[y0:y1, x0:x1]), 0 if side >= 80 else 1)
    return own + np.array([x0, y0, x0, y0], np.float32)


def _points_in(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    dlib, model = _dlib(), _model(POINTS)
    every = []
    for box in boxes:
        shape = model(image, dlib.rectangle(*(int(value) for value in (*box[:2].round(), *(box[2:].round() - 1)))))
        every.append([[part.x, part.y] for part in shape.parts()])
    return np.array(every, np.float32).reshape(-1, 68, 2)
