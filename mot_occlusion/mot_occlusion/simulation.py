"""A detector simulated on real trajectories: what occlusion costs a tracker, and what its remedies bring, without images.

Who is visible enough is detected, with noise; everybody's embedding is a noisy direction of their own; and where two
people overlap an occlusion centre is seen most of the time. All of it follows from the ground truth and a seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mot_occlusion.detections import Detections
from mot_occlusion.evaluation.pairs import overlapping_pairs
from mot_occlusion.io.mot_format import Rows
from mot_occlusion.tracking import LOST, PUBLISHED, Tracker, occlusion


class Noise(NamedTuple):
    """How imperfect the simulated detector is.

    min_visibility: who is seen less is not detected. box: standard deviation of the centre and of the size, in shares of
    the box. miss: share of visible people that is missed anyway. similarity: mean cosine of two embeddings of one
    person; centre: standard deviation of an occlusion centre in shares of the overlap. centre_miss: share of occlusions
    that is missed. centre_false: occlusion centres a frame where none is.
    """

    min_visibility: float = 0.4
    box: float = 0.02
    miss: float = 0.02
    similarity: float = 0.8
    centre: float = 0.1
    centre_miss: float = 0.2
    centre_false: float = 0.5


def simulate_detections(
    gt: Rows, num_frames: int, image_size: tuple[int, int], seed: int, noise: Noise | None = None, dimension: int = 64
) -> list[Detections]:
    """The detections of every frame; scores are in 0.6 to 1, the surest first.

    gt: rows of ground truth; only pedestrians (class 1, flag 1) are people. image_size: (height, width).
    """
    noise = noise or Noise()
    rng = np.random.default_rng(seed)
    people = gt.select((gt.classes == 1) & (gt.scores != 0))
    names, owner = np.unique(people.ids, return_inverse=True)
    directions = _unit(rng.standard_normal((len(names), dimension)))
    # Two noisy copies of a direction have the cosine 1 / (1 + s^2) when the noise has the length s.
    spread = np.sqrt(1 / noise.similarity - 1) / np.sqrt(dimension)
    starts = people.starts(num_frames)
    frames = []
    for first, last in itertools.pairwise(starts):
        boxes = people.boxes[first:last]
        seen = people.visibility[first:last] >= noise.min_visibility
        seen &= rng.random(len(boxes)) >= noise.miss
        size = boxes[:, 2:] * np.exp(noise.box * rng.standard_normal((len(boxes), 2)))
        centre = boxes[:, :2] + boxes[:, 2:] / 2 + noise.box * boxes[:, 2:] * rng.standard_normal((len(boxes), 2))
        detected = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        scores = rng.uniform(0.6, 1.0, len(boxes))
        embeddings = _unit(directions[owner[first:last]] + spread * rng.standard_normal((len(boxes), dimension)))
        order = np.argsort(-scores, kind="stable")
        order = order[seen[order]]
        true_boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        centres = _occlusion_centres(true_boxes, image_size, noise, rng)
        frames.append(
            Detections(
                detected[order].astype(np.float32),
                scores[order].astype(np.float32),
                embeddings[order].astype(np.float32),
                centres.astype(np.float32),
            )
        )
    return frames


def _occlusion_centres(
    boxes: np.ndarray, image_size: tuple[int, int], noise: Noise, rng: np.random.Generator
) -> np.ndarray:
    share = np.triu(occlusion.overlap_of_smaller(boxes, boxes), 1)
    i, j = np.nonzero(share > occlusion.MIN_OVERLAP)
    common = occlusion.overlap(boxes[i], boxes[j])
    size = common[:, 2:] - common[:, :2]
    centres = (common[:, :2] + common[:, 2:]) / 2 + noise.centre * size * rng.standard_normal((len(i), 2))
    centres = centres[rng.random(len(i)) >= noise.centre_miss]
    false = rng.random((rng.poisson(noise.centre_false), 2)) * image_size[::-1]
    return np.concatenate([centres, false])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def arms(windows: tuple[int, ...] = (1, 5, 10, 30)) -> Iterator[tuple[str, dict[str, Any]]]:
    """The trackers of the ablation: names and options of ``Tracker``.

    The published IoU-only mode can never find a lost track again; the fair one can, and so is the baseline.
    """
    yield "IoU only, published", PUBLISHED | {"reid": False, "occlusion": False}
    yield "IoU only, fair", {"reid": False, "occlusion": False}
    yield "+ re-ID", {"occlusion": False}
    for window in windows:
        yield f"+ occlusion, window {window}", {"recovery_window": window, "refine_lost_box": "none"}
    for refinement in ("output", "kalman"):
        options = {"recovery_window": windows[-1], "refine_lost_box": refinement}
        yield f"+ occlusion, window {windows[-1]}, refined ({refinement})", options


def track(
    detections: list[Detections], image_size: tuple[int, int], frame_rate: float, **options: Any
) -> tuple[Rows, np.ndarray]:
    """Track a whole sequence of given detections; its results and the state (1 tracked, 2 recovered) of every row."""
    tracker = Tracker(image_size, frame_rate, **options)
    found = [tracker.update(one) for one in detections]
    boxes = np.concatenate([tracks.boxes for tracks in found]).reshape(-1, 4)
    boxes[:, 2:] -= boxes[:, :2]
    frames = np.repeat(np.arange(1, len(found) + 1), [len(tracks.ids) for tracks in found])
    ids, scores, states = (
        np.concatenate([getattr(tracks, name) for tracks in found]) for name in ("ids", "scores", "states")
    )
    ones = np.ones(len(frames))
    return Rows(frames, ids, boxes, scores, ones.astype(np.int64), ones), states


def recovered_overlap(gt: Rows, results: Rows, states: np.ndarray, num_frames: int) -> float:
    """Mean IoU of recovered boxes with the person they stand for; 0 for whom is not there; NaN without recovered boxes.

    A track stands for the person whom it covered (IoU of at least 0.5) in most of the frames in which it was tracked.
    """
    pairs = overlapping_pairs(gt.boxes, gt.starts(num_frames), results.boxes, results.starts(num_frames))
    names, owner = np.unique(gt.ids, return_inverse=True)
    tracks, track_of = np.unique(results.ids, return_inverse=True)
    sure = (pairs.iou >= 0.5) & (states[pairs.results] != LOST)
    cells = track_of[pairs.results[sure]] * len(names) + owner[pairs.gt[sure]]
    covered = np.bincount(cells, minlength=len(tracks) * len(names)).reshape(len(tracks), len(names))
    person = covered.argmax(1)
    right = (states[pairs.results] == LOST) & (owner[pairs.gt] == person[track_of[pairs.results]])
    hidden = int((states == LOST).sum())
    return float(pairs.iou[right].sum() / hidden) if hidden else float("nan")


def run_sequence(
    gt: Rows,
    num_frames: int,
    image_size: tuple[int, int],
    frame_rate: float,
    seed: int,
    windows: tuple[int, ...],
    preset: str = "mot17",
    **options: Any,
) -> list[dict[str, Any]]:
    """Every arm of the ablation on one sequence and seed: ``arm``, ``window`` (0: no recovery) and all scores.

    options: of ``Tracker``, for all arms.
    """
    from mot_occlusion.evaluation import evaluate_sequence

    detections = simulate_detections(gt, num_frames, image_size, seed)
    rows = []
    for name, own in arms(windows):
        results, states = track(detections, image_size, frame_rate, **(options | own))
        found = evaluate_sequence(gt, results, num_frames, preset)
        found.pop("curves")
        plain = own.get("refine_lost_box") == "none" and own.get("occlusion", True)
        window = own["recovery_window"] if plain else 0 if name == "+ re-ID" else None
        recovered = {
            "recovered": int((states == LOST).sum()),
            "recovered IoU": recovered_overlap(gt, results, states, num_frames),
        }
        rows.append({"arm": name, "seed": seed, "window": window} | recovered | found)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A line an arm: means over the seeds in percent, with the standard deviation, and counts."""
    lines = []
    for name in dict.fromkeys(row["arm"] for row in rows):
        chosen = [row for row in rows if row["arm"] == name]
        line: dict[str, Any] = {"tracker": name}
        for key in ("HOTA", "AssA", "MOTA", "IDF1"):
            values = 100 * np.array([row[key] for row in chosen])
            line[key] = f"{values.mean():.1f} ± {values.std():.1f}"
        for key in ("CLR_FN", "CLR_FP", "IDSW"):
            line[key.removeprefix("CLR_")] = round(float(np.mean([row[key] for row in chosen])))
        line["recovered IoU"] = (
            f"{np.mean([row['recovered IoU'] for row in chosen]):.3f}" if chosen[0]["recovered"] else "-"
        )
        lines.append(line)
    return lines
