"""The figures of ``visualize.py``, drawn from what is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mot_occlusion import figures
from mot_occlusion.data.detection_files import FileDetections, parse_size
from mot_occlusion.data.mot_format import Rows
from mot_occlusion.data.result_files import read_tracks
from mot_occlusion.data.sources import frames_of
from mot_occlusion.evaluation import benchmark
from mot_occlusion.evaluation.hota import ALPHAS
from shared_utils import UserError


def frames(path: Path, source: str, *numbers: int) -> None:
    """Frames of a source, as of an annotated video, side by side."""
    figures.frames(path, frames_of(source, *numbers), [f"frame {number}" for number in numbers])


def trajectories(path: Path, results: str, source: str | None, frame: int) -> None:
    """Where people went, over a frame of the source where there is one."""
    rows, recovered = _read(results)
    image = frames_of(source, frame)[0] if source else None
    corner = rows.xyxy()[:, 2:].max(0)
    size = image.shape[:2] if image is not None else (int(corner[1]) + 1, int(corner[0]) + 1)
    title = f"{Path(results).stem}: {len(np.unique(rows.ids))} identities in {int(rows.frames[-1])} frames"
    figures.trajectories(path, rows.frames, rows.ids, rows.boxes, recovered, size, image, title)


def timeline(path: Path, results: str) -> None:
    """When people were there, hidden, lost."""
    rows, recovered = _read(results)
    figures.timeline(path, rows.frames, rows.ids, recovered, Path(results).stem)


def _read(results: str) -> tuple[Rows, np.ndarray]:
    rows, recovered = read_tracks(results)
    if not len(rows.frames):
        raise UserError(f"{results} has no boxes: there is nothing to draw")
    return rows, recovered


def hota(path: Path, results: str, data: str) -> None:
    """HOTA, DetA and AssA of one or several trackers, over all sequences."""
    curves = {}
    for part in results.split(","):
        name, folder = part.split("=", 1) if "=" in part else (Path(part.rstrip("/")).name, part)
        scored = benchmark.score(benchmark.find_pairs(data, folder, allow_missing=True), ("hota",))
        curves[name] = list(scored.values())[-1]["curves"]
    figures.hota_curves(path, curves, ALPHAS)


def occlusion(path: Path, detector: Any, source: str, frame: int) -> None:
    """The occlusion map over its frame, with the boxes and centres read from the network."""
    image = frames_of(source, frame)[0]
    found = detector(image)
    sure = found.scores > 0.4
    figures.occlusion(path, image, detector.occlusion_map(image), found.boxes[sure], found.centres)


def similarity(
    path: Path, detector: Any, source: str, frame: int, second: int, given: tuple[str, str | None] | None
) -> None:
    """Cosines of the people in two frames, and the placeholder: the mean of all pairs, as in training."""
    images = frames_of(source, frame, second)
    embeddings = []
    for number, image in zip((frame, second), images, strict=True):
        if given:
            boxes = FileDetections(given[0], image.shape[:2], None, parse_size(given[1])).of_frame(number).boxes
            found = detector.embed(image, boxes.astype(np.float32))
        else:
            detections = detector(image)
            found = detections.embeddings[detections.scores > 0.4]
            boxes = detections.boxes[detections.scores > 0.4]
        # From left to right in both frames, so that one looks for a diagonal.
        embeddings.append(found[np.argsort(boxes[:, 0])])
    both = np.concatenate(embeddings)
    if len(both) < 2:
        raise UserError(
            f"fewer than two people in frames {frame} and {second}: choose others with --frame and --second"
        )
    values = both @ both.T
    placeholder = float(values[~np.eye(len(both), dtype=bool)].mean())
    figures.similarity(path, values, placeholder, len(embeddings[0]), f"frames {frame} and {second}")
