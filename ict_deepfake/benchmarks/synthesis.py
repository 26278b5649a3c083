"""Training pairs against the way of the blended-image library that is published: ratios of CPU time.

    OMP_NUM_THREADS=1 python benchmarks/synthesis.py            everything, a minute or two
    OMP_NUM_THREADS=1 python benchmarks/synthesis.py blend      or: donors, pairs, faces

One process, one thread, ``time.process_time``, median of several, ours and theirs one after the other; where both compute
the same, the results have to agree before anything is timed. The published way is written here from what it does: it
measures the distance to the mask's hull pixel by pixel (``cv2.pointPolygonTest``), compares a target's landmarks with 5000
candidates one by one, and makes one swap at a time. Its deformation of the mask is left out of the timed part of theirs.
"""

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import numpy as np

from ict_deepfake.procedural import FaceSet, Population
from ict_deepfake.swapping import Recipe, blending, colour, masks, nearest_donor, swap, swap_pairs
from shared_utils import logging

CANDIDATES, PAIRS = 5000, 32


def seconds(run: Callable[[], object], repeats: int = 7) -> float:
    """Median of the CPU seconds of a call."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def faces(size: int, count: int) -> FaceSet:
    """Pictures of different persons."""
    return Population(size=size, cache=None, train=(count, 1)).train()


def blended_by_pixel(donor: np.ndarray, target: np.ndarray, mask: np.ndarray, share: float = 0.2) -> np.ndarray:
    """The blend with a call a pixel."""
    rows, columns = np.where(mask != 0)
    pixels = np.stack([columns, rows], 1)
    width = share * (pixels.max(0) - pixels.min(0)).max()
    hull = cv2.convexHull(pixels.astype(np.int32))
    distance = np.zeros(len(pixels))
    for index in range(len(pixels)):
        point = (float(pixels[index, 0]), float(pixels[index, 1]))
        distance[index] = cv2.pointPolygonTest(hull, point, True)
    weights = np.clip(distance / width, 0, 1)[:, None]
    out = target.copy()
    out[rows, columns] = weights * donor[rows, columns] + (1 - weights) * target[rows, columns]
    return out


def nearest_one_by_one(points: np.ndarray, candidates: np.ndarray) -> int:
    """The candidate with the smallest sum of distances, a comparison at a time."""
    best, least = 0, np.inf
    for index, candidate in enumerate(candidates):
        distance = np.sum(np.linalg.norm(points - candidate, axis=1))
        if distance < least:
            best, least = index, distance
    return best


def swapped_by_pixel(target: np.ndarray, donor: np.ndarray, points: np.ndarray, family: int) -> np.ndarray:
    """A swap: mask, erosion, colours, blend."""
    mask = masks.erode(masks.build(family, points, target.shape[:2]), 3)
    return blended_by_pixel(colour.moved_mean(donor, target, mask), target, mask)


def blend() -> None:
    """One blend at 317 pixels."""
    drawn = faces(317, 2)
    mask = masks.build("extended", drawn.points[0], (317, 317))
    (target, donor) = drawn.images

    def ours() -> np.ndarray:
        return blending.blend(donor, target, blending.feather(mask))

    assert np.abs(ours().astype(int) - blended_by_pixel(donor, target, mask)).max() <= 1
    slow, fast = seconds(lambda: blended_by_pixel(donor, target, mask), 3), seconds(ours)
    print(
        logging.table(
            [
                {"what": "a call a pixel", "CPU ms": 1e3 * slow, "ratio": 1.0},
                {"what": "all pixels at once, the same", "CPU ms": 1e3 * fast, "ratio": slow / fast},
            ],
            "blend of a swap, 317 px",
        )
    )


def donors() -> None:
    """The donor of one target among 5000 candidates."""
    rng = np.random.default_rng(0)
    base = masks.five_points(faces(112, 2).points[0]).astype(float)
    pool = base + rng.normal(0, 6, (CANDIDATES, *base.shape))

    def ours(count: int) -> int:
        return int(nearest_donor(base, pool, np.random.default_rng(1), count))

    drawn = np.random.default_rng(1).integers(len(pool), size=(1, CANDIDATES))[0]
    assert drawn[nearest_one_by_one(base, pool[drawn])] == ours(CANDIDATES)
    slow = seconds(lambda: nearest_one_by_one(base, pool), 3)
    rows = [{"what": "one by one, 5000", "CPU ms": 1e3 * slow, "ratio": 1.0}]
    for count in (CANDIDATES, 32):
        fast = seconds(partial(ours, count), 15)
        rows.append({"what": f"at once, {count}", "CPU ms": 1e3 * fast, "ratio": slow / fast})
    print(logging.table(rows, "donor of a target"))


def of_size(size: int) -> list[dict[str, object]]:
    """Both swaps of pairs of one size: three ways."""
    rng, drawn = np.random.default_rng(0), faces(size, 2 * PAIRS)
    a, b = drawn[:PAIRS], drawn[PAIRS:]

    def theirs() -> None:
        for row in range(2):
            family = int(rng.integers(4))
            swapped_by_pixel(a.images[row], b.images[row], a.points[row], family)
            swapped_by_pixel(b.images[row], a.images[row], b.points[row], family)

    def exactly() -> None:
        for row in range(4):
            swap(a.images[row], b.images[row], a.points[row], b.points[row], Recipe(), rng)
            swap(b.images[row], a.images[row], b.points[row], a.points[row], Recipe(), rng)

    def at_once() -> None:
        swap_pairs(a.images, b.images, a.points, b.points, Recipe(), rng)

    slow = seconds(theirs, 3) / 2
    ways = {
        "a call a pixel": slow,
        "swap, exact": seconds(exactly, 5) / 4,
        f"swap_pairs, {PAIRS} at once": seconds(at_once) / PAIRS,
    }
    return [
        {"px": size, "what": what, "CPU ms a pair": 1e3 * taken, "pairs a second": 1 / taken, "ratio": slow / taken}
        for what, taken in ways.items()
    ]


def pairs() -> None:
    """Both swaps of pairs."""
    print(logging.table([row for size in (32, 112, 317) for row in of_size(size)], "pairs of swaps, one core"))


def rendered() -> None:
    """Parametric faces."""
    rows = []
    for size, count in ((32, 2000), (48, 1000), (112, 200)):
        population = Population(size=size, cache=None, train=(count // 10, 10))
        taken = seconds(population.train, 3)
        rows.append({"px": size, "CPU ms a picture": 1e3 * taken / count, "pictures a second": count / taken})
    print(logging.table(rows, "parametric faces, one core"))


if __name__ == "__main__":
    chosen = {"blend": blend, "donors": donors, "pairs": pairs, "faces": rendered}
    for name in sys.argv[1:] or chosen:
        chosen[name]()
        print()
