"""The face mesh of 468 points, extra ``[mesh]`` and a model file by path; Apache-2.0, so also for commercial use.

``face_landmark.tflite`` (1.2 MB) lies in the wheel of mediapipe 0.10.21 under ``mediapipe/modules/face_landmark``.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from av_deepfake.landmarks.found import Faces
from av_deepfake.landmarks.mtcnn import MTCNN
from av_deepfake.landmarks.points import similarity, transform, usual
from shared_utils import UserError

SIDE = 192


class Mesh:
    """Faces by MTCNN, the usual 68 points of each frame by a mesh in a square around them.

    Args:
        model: ``face_landmark.tflite``.
        finder: what finds the five points that place the square.
    """

    source, licence = "mesh68", "Apache-2.0"

    def __init__(self, model: str | Path | None, finder: MTCNN | None = None) -> None:
        if model is None:
            raise UserError(
                "the mesh needs its model: give --mesh face_landmark.tflite, of the wheel of mediapipe 0.10.21"
            )
        self._network = _network(Path(model))
        self._finder = finder or MTCNN()
        self.every = self._finder.every

    def find(self, image: np.ndarray) -> Faces:
        """The faces of a picture, uint8 RGB (h, w, 3), with five points each; ``refine`` makes 68 of them."""
        return self._finder.find(image)

    def refine(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(68, 2) of a face of which five points (5, 2) are known."""
        to_picture = _square(points)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image, to_picture, (SIDE, SIDE), flags=flags)
        network = self._network
        network.set_tensor(network.get_input_details()[0]["index"], crop[None].astype(np.float32) / 255)
        network.invoke()
        answers = [network.get_tensor(output["index"]) for output in network.get_output_details()]
        (mesh,) = (answer.reshape(468, 3)[:, :2] for answer in answers if answer.size == 1404)
        return usual(transform(mesh, to_picture))


def _square(points: np.ndarray) -> np.ndarray:
    """The matrix (2, 3) from the network's input to a square around the face, four times eye to mouth, eyes level."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    centre, side = (eyes + mouth) / 2, 4 * np.linalg.norm(mouth - eyes)
    right = (points[1] - points[0]) / max(float(np.linalg.norm(points[1] - points[0])), 1e-6)
    down = np.array([-right[1], right[0]])
    edge = (SIDE - 1) / 2
    inside = np.array([[edge, edge], [SIDE - 0.5, edge], [edge, SIDE - 0.5]])
    return similarity(inside, np.stack([centre, centre + right * side / 2, centre + down * side / 2]))


def _network(model: Path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(
            "ai-edge-litert is not installed: add the extra, pip install 'tenpapers-av-deepfake[mesh]'"
        ) from None
    if not model.is_file():
        raise UserError(f"{model} not found: give face_landmark.tflite, of the wheel of mediapipe 0.10.21")
    try:
        network = Interpreter(model_path=str(model), num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{model} cannot be read as a network ({error}): copy face_landmark.tflite again") from None
    network.allocate_tensors()
    return network
