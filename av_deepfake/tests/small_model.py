"""A small untrained model, and mouths to score: a texture that moves."""

import cv2
import numpy as np
import torch

from av_deepfake.models.branches import AudioVisual, Detector
from av_deepfake.preprocessing import RATE, Mouths
from av_deepfake.pretrained import MouthModel

SMALL = {"dim": 8, "depth": 1, "heads": 2, "mlp": 16}


def small_model(detector=True, agreement=True, stages=4, front=None, **preprocessing):
    """Both branches and a detector, untrained; clips of 24 pixels."""
    network = {**SMALL, "widths": (4,) * stages, "blocks": (1,) * stages}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        video = {**network, "channels": 4, **(front or {})}
        pair = AudioVisual(video, network, 8) if agreement else None
        found = Detector(**video) if detector else None
    facts = {"crop_size": 26, "size": 24, "variant": "subpixel", "landmarks": "mtcnn5", **preprocessing}
    ranges = {"fps": [24.9, 25.1]}
    return MouthModel(pair, None, found, facts, {"detection": {"set": "nothing yet", "ranges": ranges}})


def crops(frames, seed=0):
    """(frames, 96, 96) uint8: a texture that moves to and fro."""
    random = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(random.random((110, 110), np.float32), (0, 0), 3)
    texture = (255 * cv2.normalize(texture, None, 0, 1, cv2.NORM_MINMAX)).astype(np.uint8)
    shifts = (7 + 6 * np.sin(np.arange(frames) / (2 + seed))).astype(int)
    return np.stack([texture[shift : shift + 96, 5:101] for shift in shifts])


def mouths(frames, seed=0, sound="noise", **facts):
    """The mouths of a video whose picture begins at 0.5 s."""
    if isinstance(sound, str):
        sound = 0.1 * np.random.default_rng(seed).standard_normal(frames * RATE // 25).astype(np.float32)
    why = "" if sound is not None else "has no sound that can be decoded: give another file"
    known = {"start": 0.5, "seconds": frames / 25, "frames": frames, "fps": 25.0, "sound": why}
    return Mouths("a.mp4", crops(frames, seed), np.ones(frames, bool), np.zeros(frames, int), sound, known | facts)
