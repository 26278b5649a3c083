"""dlib's detector and its 68 points, extra ``[dlib]``.

The model of the points was trained on iBUG 300-W: **not for commercial use**, as its author notes.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from av_deepfake.landmarks.found import Faces, faces
from shared_utils import UserError

MODEL = "shape_predictor_68_face_landmarks.dat"


class Dlib:
    """Finds faces by histograms of gradients, in every frame."""

    source, licence = "dlib68", "trained on iBUG 300-W: no commercial use"
    every = 1

    def __init__(self) -> None:
        self._dlib = _dlib()
        self._hog, self._model = self._dlib.get_frontal_face_detector(), _model()

    def find(self, image: np.ndarray) -> Faces:
        """The faces of a picture, uint8 RGB (h, w, 3), with 68 points each."""
        image = np.ascontiguousarray(image)
        boxes = list(self._hog(image, 0))
        points = [[[part.x, part.y] for part in self._model(image, box).parts()] for box in boxes]
        return faces([[box.left(), box.top(), box.right() + 1, box.bottom() + 1] for box in boxes], points, 68)

    def refine(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """The points as they are."""
        return points


def _dlib() -> Any:
    try:
        import dlib
    except ImportError:
        raise UserError(
            "dlib is not installed: add the extra, pip install 'tenpapers-av-deepfake[dlib]' "
            "(its 68-point model is not for commercial use)"
        ) from None
    return dlib


@lru_cache(maxsize=1)
def _model() -> Any:
    """The model in the package face_recognition_models, which is found and not imported: it needs what Python no longer has."""
    spec = importlib.util.find_spec("face_recognition_models")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / "models" / MODEL
        if path.is_file():
            return _dlib().shape_predictor(str(path))
    raise UserError(f"{MODEL} not found: install face-recognition-models, which is in the extra [dlib]")
