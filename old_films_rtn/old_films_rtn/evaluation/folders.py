"""Folders of restored frames compared with the true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from old_films_rtn import metrics
from old_films_rtn.data.clips import find_clips
from old_films_rtn.evaluation.parts import computed
from old_films_rtn.flow import DIS, FlowSource, clip_flows
from shared_utils import UserError
from shared_utils.work import Work

VARIANTS = {
    "script": "script (8-bit colour, SSIM with a Gaussian window of 11)",
    "paper": "paper's protocol (grey, data range 1, SSIM with a uniform window of 21)",
}
Frames = tuple[list[Path], list[Path]]
"""The restored and the true frames of a clip."""


def evaluate_folders(
    clips: dict[str, Frames],
    protocol: str,
    source: FlowSource | None = None,
    distance: metrics.LPIPS | None = None,
    store: Work | None = None,
) -> list[dict[str, Any]]:
    """A row a clip; see ``score_folder`` for the arguments. store: keeps finished clips."""
    names = sorted(clips)
    found = computed(
        names, lambda name: _as_arrays(score_folder(clips[name], protocol, source, distance)), "clips", store
    )
    return [{"clip": name, **_as_row(part)} for name, part in found]


def _as_arrays(row: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(np.nan if value is None else value) for name, value in row.items()}


def _as_row(part: dict[str, np.ndarray]) -> dict[str, Any]:
    row = {name: value.item() for name, value in part.items()}
    # A clip of one frame has no motion.
    return {name: None if value != value else value for name, value in row.items()}


def read_bgr(path: Path) -> np.ndarray:
    """(h, w, 3) BGR uint8. Raises UserError for a file that cannot be decoded."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} cannot be read as an image: write it again")
    return image


def matching_clips(restored: str | Path, target: str | Path) -> dict[str, Frames]:
    """Clip name -> restored and true frames, of two folders of the same layout.

    Raises UserError where clips or numbers of frames do not match.
    """
    ours, theirs = find_clips(restored), find_clips(target)
    if len(ours) == len(theirs) == 1:
        ours = dict(zip(theirs, ours.values(), strict=True))
    for name, frames in theirs.items():
        if name not in ours:
            raise UserError(f"clip {name} of {target} is not in {restored}: restore it first")
        if len(ours[name]) != len(frames):
            raise UserError(f"clip {name} has {len(ours[name])} frames in {restored} and {len(frames)} in {target}")
    return {name: (ours[name], frames) for name, frames in theirs.items()}


def mean_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over clips of rows of ``score_folder``; of those that have a number."""
    means: dict[str, Any] = {"clip": "mean", "frames": sum(row["frames"] for row in rows)}
    for name in rows[0]:
        if name not in means:
            numbers = [row[name] for row in rows if isinstance(row[name], float)]
            means[name] = float(np.mean(numbers)) if numbers else rows[0][name]
    return means


def score_folder(
    frames: Frames,
    protocol: str,
    source: FlowSource | None = None,
    distance: metrics.LPIPS | None = None,
) -> dict[str, Any]:
    """One clip's fidelity, and its warping error along the flow of the true frames. Reads two frames at a time.

    Raises UserError where two frames differ in size.
    """
    source = source or DIS()
    scores, errors, distances, previous = [], [], [], None
    for ours, theirs in zip(*frames, strict=True):
        restored, target = read_bgr(ours), read_bgr(theirs)
        if restored.shape != target.shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (restored, target)]
            raise UserError(f"{ours} is {sizes[0]} and {theirs} {sizes[1]}: restore at native size (no --short-side)")
        scores.append(metrics.image_scores([(restored, target)], protocol))
        clip = [
            torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float() / 127.5 - 1
            for image in (restored, target)
        ]
        if previous is not None:
            flows = clip_flows(source, torch.stack((previous[1], clip[1]))[None])
            errors.append(metrics.warping_error(torch.stack((previous[0], clip[0])), flows[1][0], flows[0][0]))
        if distance is not None:
            distances.append(float(distance(clip[0][None], clip[1][None])))
        previous = clip
    means = {name: float(np.mean([score[name] for score in scores])) for name in ("psnr", "ssim")}
    return {
        "frames": len(scores),
        **means,
        "lpips": float(np.mean(distances)) if distances else "not available",
        "warping error": 1e3 * float(np.mean(errors)) if errors else None,
    }
