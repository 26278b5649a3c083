"""What stands upright or has hard edges in a scene and is no defect: posts, railings, frames of windows, wires, letters.

Drawn as textures with a cover, which ``procedural.make_scene`` moves like its other objects. A scratch runs over most of a
frame, stays with the frame and not with the scene, varies from frame to frame, and what is behind it shines through; these
end, lean, stay with the scene, and hide what is behind them.
"""

from __future__ import annotations

import math
import string
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

Kind = Literal["posts", "railing", "window", "wires", "letters", "stripes"]
FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
)


class Structure(NamedTuple):
    """texture and cover (side, side) float32 in [0, 1]; the cover is 0 where the scene is seen."""

    texture: np.ndarray
    cover: np.ndarray


def draw_structure(rng: np.random.Generator, side: int, scale: float) -> Structure:
    """One of any kind, in a square of ``side`` pixels; scale: of its lines, 1 in a frame of 96 pixels."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    kind = kinds[rng.integers(len(kinds))]
    cover = np.zeros((side, side), np.uint8)
    tone = np.full((side, side), rng.uniform(0, 1), np.float32)
    if kind == "letters":
        _letters(rng, cover, scale)
    elif kind == "wires":
        for _ in range(rng.integers(1, 4)):
            angle = rng.uniform(0, math.pi) if rng.random() < 0.5 else math.pi / 2 + rng.normal(0, 0.1)
            _bar(cover, rng.uniform(0.2, 0.8, 2) * side, angle, 2 * side, scale * rng.uniform(0.6, 2))
    else:
        _bars(rng, kind, cover, scale)
    # Lit from a side, and uneven as things are.
    if rng.random() < 0.5:
        tone += rng.normal(0, 0.15) * cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), 4) * 8
    if rng.random() < 0.4:
        shifted = np.roll(cover, max(1, round(scale * rng.uniform(0.5, 2))), axis=1)
        tone = np.where(shifted < cover, tone + rng.uniform(-0.5, 0.5), tone)
    tone += np.linspace(-1, 1, side, dtype=np.float32)[:, None] * rng.normal(0, 0.1)
    soft = rng.uniform(0.3, 1.0)
    opacity = 1.0 if rng.random() < 0.8 else rng.uniform(0.5, 1)
    return Structure(np.clip(tone, 0, 1), cv2.GaussianBlur(cover, (0, 0), soft).astype(np.float32) * (opacity / 255))


def _bar(cover: np.ndarray, centre: np.ndarray, angle: float, length: float, thickness: float) -> None:
    """A bar around ``centre`` (x, y), ``angle`` from the row's direction."""
    along = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    aside = np.array([-math.sin(angle), math.cos(angle)]) * thickness / 2
    corners = np.stack([centre - along - aside, centre + along - aside, centre + along + aside, centre - along + aside])
    cv2.fillPoly(cover, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _bars(rng: np.random.Generator, kind: Kind, cover: np.ndarray, scale: float) -> None:
    side = len(cover)
    upright = math.pi / 2 + rng.normal(0, 0.02)
    thickness = scale * rng.uniform(0.7, 5)
    middle = rng.uniform(0.3, 0.7, 2) * side
    if kind == "posts":
        for _ in range(rng.integers(1, 5)):
            length = side * (2 if rng.random() < 0.15 else rng.uniform(0.1, 0.7))
            place = np.array([rng.uniform(0.15, 0.85) * side, middle[1]])
            _bar(cover, place, upright, length, thickness * rng.uniform(0.5, 2))
        return
    count, apart = int(rng.integers(3, 14)), thickness * rng.uniform(1.8, 6)
    length = rng.uniform(0.12, 0.6) * side
    for number in range(count):
        place = middle + np.array([(number - (count - 1) / 2) * apart, 0])
        _bar(cover, place, upright, length, thickness)
    if kind == "stripes":
        return
    rows = (-0.5, 0.5) if kind == "railing" else (-0.5, -0.15, 0.2, 0.5)
    for row in rows:
        _bar(cover, middle + np.array([0, row * length]), 0.0, count * apart, thickness * rng.uniform(0.8, 1.5))


def _letters(rng: np.random.Generator, cover: np.ndarray, scale: float) -> None:
    side = len(cover)
    characters = string.ascii_uppercase + string.ascii_letters + string.digits + "Il1|HTLEF"
    font = int(FONTS[rng.integers(len(FONTS))])
    size = scale * rng.uniform(0.25, 1.6)
    thickness = max(1, round(scale * rng.uniform(0.5, 2.5)))
    row = rng.uniform(0.25, 0.5) * side
    for _ in range(rng.integers(1, 5)):
        text = "".join(characters[i] for i in rng.integers(len(characters), size=rng.integers(3, 14)))
        (width, height), _ = cv2.getTextSize(text, font, size, thickness)
        left = (side - width) / 2 + rng.normal(0, 0.05) * side
        cv2.putText(cover, text, (int(left), int(row)), font, size, 255, thickness, cv2.LINE_AA)
        row += height * rng.uniform(1.3, 1.8)
