"""Faces: finding them, their points, following them in video, and the crop that the network sees.

``detector`` finds faces, ``align`` and ``network_input`` go on from there. Importing this loads no torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ict_deepfake.faces.alignment import TEMPLATE as TEMPLATE
from ict_deepfake.faces.alignment import Alignment as Alignment
from ict_deepfake.faces.alignment import align as align
from ict_deepfake.faces.alignment import network_input as network_input
from ict_deepfake.faces.alignment import similarity as similarity
from ict_deepfake.faces.alignment import to_crop as to_crop
from ict_deepfake.faces.alignment import transform as transform
from ict_deepfake.faces.alignment import visible as visible
from ict_deepfake.faces.found import FaceDetector as FaceDetector
from ict_deepfake.faces.found import Faces as Faces
from ict_deepfake.faces.found import five_of_68 as five_of_68
from ict_deepfake.faces.found import no_faces as no_faces
from ict_deepfake.faces.landmark_files import LandmarkFile as LandmarkFile
from ict_deepfake.faces.landmark_files import landmark_file as landmark_file
from ict_deepfake.faces.landmark_files import write_landmarks as write_landmarks
from ict_deepfake.faces.pictures import IMAGES as IMAGES
from ict_deepfake.faces.pictures import pictures_in as pictures_in
from ict_deepfake.faces.pictures import read_picture as read_picture
from ict_deepfake.faces.tracks import Tracker as Tracker
from shared_utils import UserError

if TYPE_CHECKING:
    import torch

DETECTORS = ("mtcnn", "retinaface", "dlib")


def detector(
    name: str = "mtcnn",
    min_size: int = 40,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    longest: int | None = None,
) -> FaceDetector:
    """A detector of faces by its name.

    Args:
        name: mtcnn (bundled with facenet-pytorch), retinaface (published weights), dlib (extra).
        min_size: side of the smallest face in pixels.
        weights: the file of RetinaFace.
        device: where its networks run.
        longest: MTCNN looks for faces in pictures shrunk to this side.

    Raises:
        UserError: another name, weights that are missing or not wanted, an extra that is not installed.
    """
    if name not in DETECTORS:
        raise UserError(f"no face detector {name}: known are {', '.join(DETECTORS)}")
    if (weights is None) == (name == "retinaface"):
        raise UserError(
            "RetinaFace needs its published weights (Resnet50_Final.pth or mobilenet0.25_Final.pth)"
            if weights is None
            else f"only retinaface takes weights of its own, not {name}"
        )
    if name == "mtcnn":
        from ict_deepfake.faces.mtcnn import MTCNN

        return MTCNN(min_size, device, longest=longest)
    if name == "dlib":
        from ict_deepfake.faces.dlib_faces import Dlib

        return Dlib(min_size)
    from ict_deepfake.faces.retinaface import RetinaFace, load_network

    assert weights is not None
    return RetinaFace(load_network(weights), min_size, device)


def points68(
    image: np.ndarray, found: Faces, source: Literal["dlib", "mesh"] = "dlib", model: str | Path | None = None
) -> np.ndarray:
    """The usual 68 points of each face.

    Args:
        image: uint8 RGB (h, w, 3).
        found: its faces, of any detector.
        source: dlib (not for commercial use) or mesh (Apache-2.0, nearest points of 468).
        model: ``face_landmark.tflite`` for the mesh.

    Returns:
        (n, 68, 2) float32.

    Raises:
        UserError: an extra or the model is missing.
    """
    if source == "mesh":
        from ict_deepfake.faces import mesh

        if model is None:
            raise UserError("the mesh needs its model: give face_landmark.tflite, of the wheel of mediapipe 0.10.21")
        return mesh.points_68(image, found, model)
    from ict_deepfake.faces import dlib_faces

    return dlib_faces.points_68(image, found)


def descriptors(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 128) descriptors of dlib's face recogniser for faces of which 68 points (n, 68, 2) are known."""
    from ict_deepfake.faces import dlib_faces

    return dlib_faces.descriptors(image, points)
