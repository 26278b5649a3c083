"""The face mesh of 468 points, extra ``[mesh]`` and a model file by path; Apache-2.0, so also for commercial use.

``face_landmark.tflite`` (1.2 MB) lies in the wheel of mediapipe 0.10.21 under ``mediapipe/modules/face_landmark``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ict_deepfake.faces.alignment import similarity, transform
from ict_deepfake.faces.found import Faces, check_picture
from shared_utils import UserError

SIDE = 192
# fmt: off
OF_68 = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,  # jaw
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,  # brows
    168, 197, 5, 4, 75, 97, 2, 326, 305,  # nose
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,  # eyes
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,  # mouth
)
# fmt: on
"""Which of the 468 points stands for each of the usual 68. Brows and jaw are near, not the same."""


def points_468(image: np.ndarray, found: Faces, model: str | Path) -> np.ndarray:
    """The mesh of every face.

    Args:
        image: uint8 RGB (h, w, 3).
        found: its faces.
        model: ``face_landmark.tflite``.

    Returns:
        (n, 468, 2) float32, x y in pixels of the picture.
    """
    check_picture(image)
    network, meshes = _network(str(model)), []
    for points in found.points.astype(np.float64):
        to_picture = _square(points)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, to_picture, (SIDE, SIDE), flags=flags)
        network.set_tensor(network.get_input_details()[0]["index"], crop[None].astype(np.float32) / 255)
        network.invoke()
        answers = [network.get_tensor(output["index"]) for output in network.get_output_details()]
        (mesh,) = (answer.reshape(468, 3)[:, :2] for answer in answers if answer.size == 1404)
        meshes.append(transform(mesh, to_picture))
    return np.array(meshes, np.float32).reshape(-1, 468, 2)


def points_68(image: np.ndarray, found: Faces, model: str | Path) -> np.ndarray:
    """(n, 68, 2) float32: the points of the mesh that are nearest to the usual 68."""
    return points_468(image, found, model)[:, list(OF_68)]


def _square(points: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) from the network's input to a square around the face, eyes level."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    centre, side = (eyes + mouth) / 2, 4 * np.linalg.norm(mouth - eyes)
    right = (points[1] - points[0]) / max(float(np.linalg.norm(points[1] - points[0])), 1e-6)
    down = np.array([-right[1], right[0]])
    edge = (SIDE - 1) / 2
    inside = np.array([[edge, edge], [SIDE - 0.5, edge], [edge, SIDE - 0.5]])
    return similarity(inside, np.stack([centre, centre + right * side / 2, centre + down * side / 2]))


@lru_cache(maxsize=2)
def _network(model: str) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(
            "ai-edge-litert is not installed: add the extra, pip install 'tenpapers-ict-deepfake[mesh]'"
        ) from None
    if not Path(model).is_file():
        raise UserError(f"{model} not found: give face_landmark.tflite, of the wheel of mediapipe 0.10.21")
    try:
        network = Interpreter(model_path=model, num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{model} cannot be read as a network ({error}): copy face_landmark.tflite again") from None
    network.allocate_tensors()
    return network
