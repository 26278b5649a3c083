"""Small scenes with known people, for the tests of several rooms."""

import cv2
import numpy as np

from mot_occlusion.data.mot_format import Rows

SIZE = (96, 128)
FRAMES = 70


def scene(frame):
    """Two people on their ways through each other, as boxes x, y, w, h."""
    return [[5 + 1.5 * frame, 20, 14, 40], [115 - 1.5 * frame, 25, 14, 40]]


def image_of(frame):
    image = np.full((*SIZE, 3), 90, np.uint8)
    for (x, y, w, h), colour in zip(scene(frame), ((200, 40, 40), (40, 40, 200)), strict=True):
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1)
    return image


def rows(frames, ids, boxes, scores=None, classes=None, visibility=None):
    frames = np.asarray(frames)
    order = np.argsort(frames, kind="stable")
    ones = np.ones(len(frames))
    columns = (
        frames,
        np.asarray(ids),
        np.asarray(boxes, dtype=float).reshape(-1, 4),
        ones if scores is None else np.asarray(scores, dtype=float),
        ones.astype(int) if classes is None else np.asarray(classes),
        ones if visibility is None else np.asarray(visibility, dtype=float),
    )
    return Rows(*columns).select(order)


def random_sequence(seed, people=7, frames=40, with_classes=False):
    """Ground truth of wandering people, and results that miss, invent, swap and shift."""
    rng = np.random.default_rng(seed)
    gt, found = [], []
    place = rng.uniform(0, 300, (people, 2))
    names = np.arange(people) + 10
    for frame in range(1, frames + 1):
        place += rng.normal(0, 4, place.shape)
        there = rng.random(people) < 0.85
        boxes = np.column_stack([place, np.tile([50.0, 90.0], (people, 1))])
        gt += [(frame, i + 1, *boxes[i], 1, 1, 1) for i in np.flatnonzero(there)]
        if rng.random() < 0.1:
            i, j = rng.choice(people, 2, replace=False)
            names[[i, j]] = names[[j, i]]
        if rng.random() < 0.1:
            names[rng.integers(people)] = 100 + frame
        if rng.random() < 0.1:
            continue  # a frame without results
        seen = np.flatnonzero(rng.random(people) < 0.8)
        noisy = boxes + rng.normal(0, 6, boxes.shape)
        found += [(frame, names[i], *noisy[i], 0.9) for i in seen]
        if rng.random() < 0.4:
            found.append((frame, 1000 + frame, *rng.uniform(0, 300, 2), 50, 90, 0.5))
    gt, found = np.array(gt), np.array(found)
    classes = rng.choice([1, 1, 1, 2, 6, 8], len(gt)) if with_classes else None
    flags = rng.random(len(gt)) < 0.9 if with_classes else None
    return rows(gt[:, 0].astype(int), gt[:, 1].astype(int), gt[:, 2:6], flags, classes), rows(
        found[:, 0].astype(int), found[:, 1].astype(int), found[:, 2:6], found[:, 6]
    )


def write_gt(folder, gt, length=40, with_classes=True):
    (folder / "gt").mkdir(parents=True)
    rest = "{},{:.3f}" if with_classes else "-1,-1,-1"
    lines = [
        f"{frame},{identity},{x:.6f},{y:.6f},{w:.6f},{h:.6f},{flag:.0f},{rest.format(label, seen)}\n"
        for frame, identity, (x, y, w, h), flag, label, seen in zip(*gt, strict=True)
    ]
    (folder / "gt" / "gt.txt").write_text("".join(lines))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nframeRate=25\nseqLength={length}\nimWidth=400\nimHeight=400\n"
    )
