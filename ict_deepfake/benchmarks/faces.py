"""Anchors, alignment and a whole clip, against the published way; prints ratios of CPU time.

    python benchmarks/faces.py                      # anchors and alignment
    python benchmarks/faces.py --clip VIDEO         # and a clip, end to end at equal sampling

The published way is: anchors by a loop over places, scikit-image's warp in double precision, RetinaFace on ResNet-50 (of
random weights: it costs the same) on one frame after the other, one crop at a time through the network. MTCNN with the
settings of its package, one frame after the other, stands between: the same detector as ours, used plainly.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import torch

from ict_deepfake import faces
from ict_deepfake.faces.found import FaceDetector
from ict_deepfake.faces.retinaface import SIDES, STEPS, RetinaFace, anchors
from ict_deepfake.models.ict import ICT
from ict_deepfake.models.retinaface import RetinaFace as RetinaFaceNetwork
from ict_deepfake.prediction import Predictor, video_shots
from ict_deepfake.pretrained import Detector
from shared_utils import cli
from shared_utils.logging import table


def looped_anchors(height: int, width: int) -> torch.Tensor:
    """One place after the other."""
    found = []
    for step, sides in zip(STEPS, SIDES, strict=True):
        for row, column in product(range(ceil(height / step)), range(ceil(width / step))):
            for side in sides:
                found += [(column + 0.5) * step / width, (row + 0.5) * step / height, side / width, side / height]
    return torch.tensor(found).view(-1, 4)


def warped(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """scikit-image, double precision, cut off."""
    from skimage import transform

    similarity = transform.SimilarityTransform.from_estimate(np.array(faces.TEMPLATE), points)
    return (transform.warp(image, similarity, output_shape=(317, 317)) * 255).astype(np.uint8)


def plainly(clip: Path, every: int, frames: int, finder: FaceDetector, detector: Detector) -> int:
    """Frame by frame, crop by crop; the number of faces."""
    count = 0
    for number, shot in zip(range(frames), video_shots("clip", clip, every), strict=False):
        assert shot.image is not None, f"frame {number}"
        found = finder.detect([shot.image])[0]
        for points in found.points[:1] if len(found) else [np.array(faces.TEMPLATE)]:
            detector.embed([warped(shot.image, points)])
            count += 1
    return count


def ours(clip: Path, every: int, frames: int, finder: FaceDetector, detector: Detector) -> int:
    """As ``predict`` does it; the number of faces."""
    shots = (shot for _, shot in zip(range(frames), video_shots("clip", clip, every), strict=False))
    return sum(row.status == "ok" for row in Predictor(detector, finder).rows(shots))


def cost(run: Callable[[], object], repeats: int) -> float:
    """The least CPU time of several runs: other processes can only add to it."""
    run()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return min(spent)


def measure(
    clip: str | None = None, every: int = 15, frames: int = 17, repeats: int = 5, retinaface: bool = True
) -> None:
    """Print how many times faster ours is.

    Args:
        clip: a video for the comparison end to end.
        every: each so many frames of it.
        frames: so many sampled frames; 17 are 10 s at 25 a second.
        repeats: runs of each way.
        retinaface: measure the published detector too, which takes most of the time.
    """
    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    points = (np.array(faces.TEMPLATE) - 158) * 0.8 + [640, 360]
    rows = [
        row("anchors, 720p", cost(lambda: looped_anchors(720, 1280), repeats), cost(_fresh_anchors, repeats)),
        row(
            "alignment", cost(lambda: warped(image, points), repeats), cost(lambda: _align(image, points), repeats) / 50
        ),
    ]
    if clip is not None:
        detector = Detector(ICT())
        finder = faces.detector("mtcnn")
        plain = faces.detector("mtcnn", min_size=20)
        fast = cost(lambda: ours(Path(clip), every, frames, finder, detector), 1)
        rows.append(
            row("clip, MTCNN plainly", cost(lambda: plainly(Path(clip), every, frames, plain, detector), 1), fast)
        )
        if retinaface:
            published = RetinaFace(RetinaFaceNetwork("resnet50"), threshold=2.0)  # random weights find nothing
            spent = cost(lambda: plainly(Path(clip), every, frames, published, detector), 1)
            rows.append(row("clip, published", spent, fast))
    print(table(rows, "CPU time, one thread"))


def row(name: str, published: float, fast: float) -> dict[str, str | float]:
    """Times in milliseconds, and the ratio."""
    return {"what": name, "published (ms)": 1e3 * published, "ours (ms)": 1e3 * fast, "times faster": published / fast}


def _fresh_anchors() -> torch.Tensor:
    anchors.cache_clear()
    return anchors(720, 1280)


def _align(image: np.ndarray, points: np.ndarray) -> None:
    for _ in range(50):
        faces.align(image, points)


if __name__ == "__main__":
    raise SystemExit(cli.run(measure))
