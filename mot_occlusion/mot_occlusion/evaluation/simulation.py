"""A detector simulated on real trajectories: what occlusion costs a tracker, and what its remedies bring, without images.

Who is visible enough is detected, with noise; each person's embedding is a noisy direction of its own; and where two
people overlap an occlusion centre is seen most of the time. All of it follows from the ground truth and a seed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from mot_occlusion.data.mot_format import Rows
from mot_occlusion.detections import Detections
from mot_occlusion.tracking import occlusion


class Noise(NamedTuple):
    """How imperfect the simulated detector is.

    min_visibility: who is seen less is not detected. box: standard deviation of the centre and of the size, in shares of
    the box. miss: share of visible people that is missed anyway. similarity: mean cosine of two embeddings of one
    person; centre: standard deviation of an occlusion centre in shares of the overlap. centre_miss: share of occlusions
    that is missed. centre_false: occlusion centres a frame where none is.

    certain: scores are drawn from 0.6 to 1; otherwise they follow the visibility, as real detectors' do, hidden_box more
    noise is on the box of a person who is hardly seen, and false: false alarms a frame, which score low.
    """

    min_visibility: float = 0.4
    box: float = 0.02
    miss: float = 0.02
    similarity: float = 0.8
    centre: float = 0.1
    centre_miss: float = 0.2
    centre_false: float = 0.5
    certain: bool = True
    hidden_box: float = 0.0
    false: float = 0.0


#: A detector whose scores say how much is seen of a person; what the default leaves out, it reports with a low score.
GRADED = Noise(min_visibility=0.1, box=0.03, certain=False, hidden_box=0.1, false=1.0)


def simulate_detections(
    gt: Rows, num_frames: int, image_size: tuple[int, int], seed: int, noise: Noise | None = None, dimension: int = 64
) -> list[Detections]:
    """The detections of every frame, the surest first.

    Args:
        gt: rows of ground truth; only pedestrians (class 1, flag 1) are people.
        num_frames: of the sequence.
        image_size: (height, width).
        seed: of the noise.
        noise: how imperfect the detector is.
        dimension: of the embeddings.
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
        deviation = (noise.box + noise.hidden_box * (1 - people.visibility[first:last]))[:, None]
        size = boxes[:, 2:] * np.exp(deviation * rng.standard_normal((len(boxes), 2)))
        centre = boxes[:, :2] + boxes[:, 2:] / 2 + deviation * boxes[:, 2:] * rng.standard_normal((len(boxes), 2))
        detected = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        scores = rng.uniform(0.6, 1.0, len(boxes))
        embeddings = _unit(directions[owner[first:last]] + spread * rng.standard_normal((len(boxes), dimension)))
        if not noise.certain:
            scores = 0.15 + 0.8 * people.visibility[first:last] + 0.08 * rng.standard_normal(len(boxes))
            scores = np.clip(scores, 0.02, 0.99)
            detected, scores, embeddings, seen = _with_false_alarms(
                detected, scores, embeddings, seen, rng.poisson(noise.false), image_size, rng
            )
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


def _with_false_alarms(
    boxes: np.ndarray,
    scores: np.ndarray,
    embeddings: np.ndarray,
    seen: np.ndarray,
    count: int,
    image_size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of people's sizes where nobody is, which score 0.1 to 0.55 and look like nobody."""
    count = count if len(boxes) else 0
    like = boxes[rng.integers(len(boxes), size=count)] if count else boxes[:0]
    half = (like[:, 2:] - like[:, :2]) / 2
    centre = rng.random((count, 2)) * image_size[::-1]
    return (
        np.concatenate([boxes, np.concatenate([centre - half, centre + half], axis=1)]),
        np.concatenate([scores, rng.uniform(0.1, 0.55, count)]),
        np.concatenate([embeddings, _unit(rng.standard_normal((count, embeddings.shape[1])))]),
        np.concatenate([seen, np.ones(count, dtype=bool)]),
    )


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
