"""Cutting boxes out of a video, decoded once from its beginning to the last box."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from luperson_nl.data.store import Crop, crop_key, identity_of
from luperson_nl.tracklets.boxes import Boxes
from luperson_nl.tracklets.videos import Frames

log = logging.getLogger(__name__)
QUALITY = 95  # of the JPEGs


def cut(image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """The part of an image (H, W, 3) in a box (x1, y1, x2, y2), rounded and clipped; None where nothing is left."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.clip(np.round(box).astype(int), 0, [width, height, width, height])
    return image[y1:y2, x1:x2] if x2 > x1 and y2 > y1 else None


def encode(image: np.ndarray) -> bytes:
    """RGB uint8 -> JPEG."""
    import cv2

    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return content.tobytes()


def crops(
    frames: Frames, boxes: Boxes, person: np.ndarray | None, video: int, counts: dict[str, int]
) -> Iterator[Crop]:
    """The crops of a video, frame by frame.

    Args:
        frames: the opened video.
        boxes: the chosen ones, in pixels of the video.
        person: (n,) the true person of each, -1 unknown; None where nothing is known.
        video: number of the video in the store; its camera, too.
        counts: what could not be cut is counted here, under "missing frame".
    """
    counts["missing frame"] = 0
    rows_of = dict(boxes.by_frame())
    waiting = set(rows_of)
    for number, image in frames.read(max(waiting, default=0)):
        rows = rows_of.get(number)
        if rows is None or image is None:
            continue
        waiting.discard(number)
        for row in rows.tolist():
            part = cut(image, boxes.box[row])
            if part is None:
                continue
            track = int(boxes.track[row])
            known = person is not None and person[row] >= 0
            yield Crop(
                key=crop_key(video, track, number, int(boxes.number[row])),
                image=encode(part),
                identity=identity_of(video, track),
                video=video,
                frame=number,
                camera=video,
                true=identity_of(video, int(person[row])) if known and person is not None else -1,
                box=tuple(boxes.box[row].tolist()),
                score=float(boxes.score[row]),
            )
    if waiting:
        counts["missing frame"] = sum(len(rows_of[number]) for number in waiting)
        log.warning(
            "%s: %d frames with boxes are missing or cannot be decoded, first frame %d: skipped with %d boxes",
            frames.video.path, len(waiting), min(waiting), counts["missing frame"],
        )  # fmt: skip
