"""Mouth crops against the published way, and what five points lose against 68; prints ratios of CPU time.

    python benchmarks/preprocessing.py --grid ../../shared/data/av_deepfake/grid
    python benchmarks/preprocessing.py --grid ../../shared/data/av_deepfake/grid --points

The published way keeps every frame of a video as a picture file, warps the whole face by skimage in double precision, cuts the
mouth out of it and keeps it as another file. Frames and landmarks are the same on both sides. ``--points`` compares crops by
other landmarks with those of dlib's 68 points in every frame.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from av_deepfake.landmarks.points import five, five_of_68, similarity, transform
from av_deepfake.preprocessing import Settings, read_video
from av_deepfake.preprocessing.clock import Ticks, ticks
from av_deepfake.preprocessing.mouth_crop import Placement, crop, crop_2020, mean_face, placements
from shared_utils import UserError, cli
from shared_utils.logging import table
from shared_utils.video import open_source


def published_warp(frame: np.ndarray, smooth: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The published steps for one frame: a similarity, the whole face of 256 pixels warped, the mouth cut out."""
    from skimage import transform as skimage

    stable = [33, 36, 39, 42, 45]
    move = skimage.SimilarityTransform(np.vstack([similarity(smooth[stable], mean_face()[stable]), [0, 0, 1]]))
    whole = (skimage.warp(frame, move.inverse, output_shape=(256, 256)) * 255).astype(np.uint8)
    x, y = np.clip(move(points)[48:].mean(axis=0), 48, 208).round().astype(int)
    return whole[y - 48 : y + 48, x - 48 : x + 48]


def published_clip(path: Path, landmarks: np.ndarray, folder: Path) -> None:
    """Decode to picture files, read them again, warp, and keep the mouths as picture files."""
    for number, shown in enumerate(ticks(open_source(path).frames(), Ticks())):
        Image.fromarray(shown.image).save(folder / f"{number:04d}.png")
    for number, points in enumerate(landmarks):
        frame = np.asarray(Image.open(folder / f"{number:04d}.png"))
        smooth = landmarks[min(number, len(landmarks) - 12) :][:12].mean(axis=0)
        Image.fromarray(published_warp(frame, smooth, points)).save(folder / f"mouth_{number:04d}.png")


def cpu(call: Callable[[], Any], repeats: int = 3) -> float:
    """CPU seconds of the fastest of several calls."""
    spent = []
    for _ in range(repeats):
        before = time.process_time()
        call()
        spent.append(time.process_time() - before)
    return min(spent)


def speed(grid: Path) -> list[dict[str, Any]]:
    """A row a step: ours and the published way."""
    path, stored = grid / "bbaf2n.mpg", np.load(grid / "landmarks68.npz")
    landmarks = stored["bbaf2n/dlib68"].astype(np.float64)
    frames = [shown.image for shown in ticks(open_source(path).frames(), Ticks())]
    count = len(frames)
    per_frame = [landmarks[number : number + 12].mean(axis=0) for number in range(count)]
    warp = cpu(lambda: [published_warp(*one) for one in zip(frames, per_frame, landmarks, strict=True)]) / count
    exact = cpu(lambda: list(crop_2020(frames, landmarks))) / count
    fast = cpu(lambda: list(crop(frames, landmarks))) / count
    rows = [
        {
            "step": "a mouth of a 360x288 frame, exact 2020",
            "ours": f"{1e3 * exact:.2f} ms",
            "ratio": f"{warp / exact:.1f}",
        },
        {"step": "a mouth of a 360x288 frame, default", "ours": f"{1e3 * fast:.2f} ms", "ratio": f"{warp / fast:.1f}"},
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "bbaf2n.npy", landmarks)
        theirs = cpu(lambda: published_clip(path, landmarks, folder), 1)
        ours = cpu(lambda: read_video(path, Settings(landmarks=scratch)))
        silent = cpu(lambda: read_video(path, Settings(landmarks=scratch, sound=False)))
    rows += [
        {"step": "a clip of 75 frames, landmarks given", "ours": f"{silent:.2f} s", "ratio": f"{theirs / silent:.1f}"},
        {
            "step": "the same, with its sound (theirs: without)",
            "ours": f"{ours:.2f} s",
            "ratio": f"{theirs / ours:.1f}",
        },
    ]
    for every in (5, 10):
        read_video(path, Settings(every=every))  # loads the detector
        spent = cpu(lambda every=every: read_video(path, Settings(every=every)), 2)
        rows.append(
            {"step": f"the clip with MTCNN every {every}th frame", "ours": f"{count / spent:.0f} frames/s", "ratio": ""}
        )
    return rows


def points_of(grid: Path) -> list[dict[str, Any]]:
    """Crops by other landmarks compared with those by dlib's 68 points, means over the clips in pixels of the crop."""
    stored = np.load(grid / "landmarks68.npz")
    clips = sorted({name.split("/")[0] for name in stored.files})
    measured: dict[str, list[dict[str, float]]] = {}
    for clip in clips:
        frames = [shown.image for shown in ticks(open_source(grid / f"{clip}.mpg").frames(), Ticks())]
        dlib = stored[f"{clip}/dlib68"].astype(np.float64)
        mesh = stored[f"{clip}/mesh68"] / 4  # stored in quarters of a pixel
        found, looked = stored[f"{clip}/mtcnn5"].astype(np.float64), stored[f"{clip}/mtcnn5_frames"]
        sources = {
            "dlib 68, every frame": dlib,
            "mesh mapped to 68, every frame": mesh,
            "five points of dlib's 68": five_of_68(dlib),
            "MTCNN five, every 5th frame, interpolated": _every(found, looked, 5, len(frames)),
        }
        if len(looked) == len(frames):
            sources["MTCNN five, every frame (2 clips)"] = found
        anchors = {"dlib": five_of_68(dlib)[:, :3], "mesh": five(mesh)[:, :3]}
        opening = np.linalg.norm(dlib[:, 66] - dlib[:, 62], axis=1)
        reference = list(placements(frames, dlib))
        for name, known in sources.items():
            # Points that the cropper did not use.
            anchor = anchors["mesh" if "dlib" in name else "dlib"]
            placed = list(placements(frames, known))
            measured.setdefault(name, []).append(_measured(placed, reference, anchor, opening))
    return [
        {"points used": name} | {key: f"{np.mean([one[key] for one in rows]):.2f}" for key in rows[0]}
        for name, rows in measured.items()
    ]


def _every(found: np.ndarray, looked: np.ndarray, step: int, count: int) -> np.ndarray:
    """Points (count, 5, 2) interpolated between those of every ``step``-th frame."""
    kept = looked % step == 0
    wanted = np.arange(count)
    flat = [np.interp(wanted, looked[kept], column) for column in found[kept].reshape(kept.sum(), -1).T]
    return np.stack(flat, axis=1).reshape(count, 5, 2)


def _measured(
    placed: list[tuple[np.ndarray, Placement]],
    reference: list[tuple[np.ndarray, Placement]],
    anchor: np.ndarray,
    opening: np.ndarray,
) -> dict[str, float]:
    moves = [one.to_crop for _, one in placed]
    others = [one.to_crop for _, one in reference]
    middle = np.array([[47.5, 47.5]])
    shifts, turns, scales = [], [], []
    for move, other in zip(moves, others, strict=True):
        shifts.append(transform(transform(middle, cv2.invertAffineTransform(other)), move)[0] - middle[0])
        angles = [np.arctan2(one[1, 0], one[0, 0]) for one in (move, other)]
        turns.append(abs(np.degrees(angles[0] - angles[1])))
        scales.append(np.hypot(*move[:, 0]) / np.hypot(*other[:, 0]))
    inside = np.stack([transform(points, move) for points, move in zip(anchor, moves, strict=True)]).mean(axis=1)
    jitter = np.sqrt((np.diff(inside, n=2, axis=0) ** 2).sum(axis=1).mean())
    differences = [np.abs(a - b).mean() for a, b in zip(_pictures(placed), _pictures(reference), strict=True)]
    mean = np.mean(shifts, axis=0)
    return {
        "scale": float(np.mean(scales)),
        "rotation [deg]": float(np.mean(turns)),
        "dx": float(mean[0]),
        "dy": float(mean[1]),
        "sd of dy": float(np.std(shifts, axis=0)[1]),
        "jitter": float(jitter),
        "grey difference": float(np.mean(differences)),
        "motion difference": _motion_difference(placed, reference),
        "opening with nose": float(np.corrcoef(opening, inside[:, 1])[0, 1]),
    }


def _pictures(placed: list[tuple[np.ndarray, Placement]]) -> Iterator[np.ndarray]:
    for frame, place in placed:
        yield cv2.warpAffine(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), place.to_crop, (96, 96)).astype(np.float64)


def _motion_difference(
    placed: list[tuple[np.ndarray, Placement]], reference: list[tuple[np.ndarray, Placement]]
) -> float:
    """How much of the energy of the change from frame to frame differs, as a share of that of the reference."""
    changes = [[b - a for a, b in pairwise(_pictures(one))] for one in (placed, reference)]
    apart = sum(((a - b) ** 2).sum() for a, b in zip(*changes, strict=True))
    return float(np.sqrt(apart / sum((change**2).sum() for change in changes[1])))


def compare(grid: str, points: bool = False) -> None:
    """Compare with the published way.

    Args:
        grid: the folder of the GRID clips with landmarks68.npz.
        points: compare landmarks instead of times.
    """
    folder = Path(grid)
    if not (folder / "landmarks68.npz").is_file():
        raise UserError(
            f"{folder / 'landmarks68.npz'} not found: give the folder of the GRID clips with their landmarks"
        )
    print(table(points_of(folder) if points else speed(folder)))


if __name__ == "__main__":
    raise SystemExit(cli.run(compare))
