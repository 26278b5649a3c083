"""What is stored of one box, and the names and numbers it goes by."""

from __future__ import annotations

import math
from typing import NamedTuple


class Crop(NamedTuple):
    """One crop on its way into a store.

    key: its name, unique in the store, at most 90 letters (``crop_key``). image: the bytes of its file. identity: the
    noisy identity, unique over the whole store (``identity_of`` a video and track). video: number of its video. frame:
    1-based. camera: its number. true: the hidden person, unique over the whole store, -1 unknown. box: xyxy pixels of the
    frame. score: of the detector.
    """

    key: str
    image: bytes
    identity: int
    video: int
    frame: int
    camera: int
    true: int = -1
    box: tuple[float, float, float, float] = (math.nan, math.nan, math.nan, math.nan)
    score: float = math.nan


def crop_key(video: int, track: int, frame: int, box: int) -> str:
    """The published name of a crop."""
    return f"{video:05d}_{track:06d}_{frame:07d}_{box:02d}"


def identity_of(video: int, track: int) -> int:
    """A number of its own for every track of every video: ids of two videos never coincide."""
    return (video << 32) | track


def image_name(identity: int, key: str) -> str:
    """``00003_000017/<key>.jpg``: the video and track of an identity (or 0 and a published id), then the crop."""
    return f"{identity >> 32:05d}_{identity & 0xFFFFFFFF:06d}/{key}.jpg"
