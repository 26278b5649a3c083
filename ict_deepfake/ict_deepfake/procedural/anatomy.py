"""From parameters in -1 to 1 to lengths and colours, and the 68 landmarks that follow from them.

Lengths are in the frame of the head: the origin is the middle of the picture, 1 half its side, y points down. The mean
face puts its eyes, nose tip and mouth corners where the alignment template of spec 3.2 has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ict_deepfake.procedural.conditions import Conditions
from ict_deepfake.procedural.people import INNER, OUTER, People

INNER_AMPLITUDE, OUTER_AMPLITUDE = 1.4, 1.5
"""How far people differ, in the units of spec 3.5; with 1 the persons of small pictures cannot be kept apart."""

_NOSE_DEPTH = 1.5  # the tip of the nose moves further than the eyes when the head turns
_JAW = np.linspace(np.pi + 0.12, -0.12, 17)  # angles of the landmarks 0 to 16, from ear to ear over the chin


@dataclass(frozen=True)
class Anatomy:
    """Lengths (n,) and colours (n, 3) of n faces under their expression; x of features is half their distance."""

    eye_x: np.ndarray
    eye_y: np.ndarray
    eye_width: np.ndarray
    eye_open: np.ndarray
    eye_tilt: np.ndarray
    iris: np.ndarray
    brow_y: np.ndarray
    brow_width: np.ndarray
    brow_thickness: np.ndarray
    brow_slope: np.ndarray
    brow_colour: np.ndarray
    nose_y: np.ndarray
    nose_width: np.ndarray
    mouth_y: np.ndarray
    mouth_width: np.ndarray
    lip: np.ndarray
    lip_colour: np.ndarray
    gap: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    hair_width: np.ndarray
    hair_top: np.ndarray
    hair_bottom: np.ndarray
    neck: np.ndarray
    face_y: np.ndarray
    face_width: np.ndarray
    face_height: np.ndarray
    exponent: np.ndarray
    taper: np.ndarray
    ear_y: np.ndarray


def anatomy(people: People, conditions: Conditions) -> Anatomy:
    """What the renderer draws: the people's shapes with the expression and skin of the pictures."""
    p = dict(zip(INNER, INNER_AMPLITUDE * people.inner.T, strict=True))
    q = dict(zip(OUTER, OUTER_AMPLITUDE * people.outer.T, strict=True))
    eye_y = -0.080 + 0.028 * p["eye_height"]
    gap = 0.055 * conditions.mouth_open
    lip = 0.048 + 0.014 * p["brow_thickness"]
    return Anatomy(
        eye_x=0.262 + 0.030 * p["eye_spacing"],
        eye_y=eye_y,
        eye_width=0.112 + 0.020 * p["eye_width"],
        eye_open=0.058 + 0.017 * p["eye_openness"],
        eye_tilt=0.16 * p["eye_tilt"],
        iris=_colour((0.32, 0.27, 0.23), (p["iris_lightness"], (0.16, 0.16, 0.17)), (p["iris_hue"], (-0.11, 0.02, 0.13))),
        brow_y=eye_y - 0.175 - 0.030 * p["brow_height"] - 0.025 * conditions.brow_raise,
        brow_width=0.140 + 0.010 * p["eye_width"],
        brow_thickness=0.034 + 0.012 * p["brow_thickness"],
        brow_slope=0.18 * p["brow_slope"],
        brow_colour=_colour((0.28, 0.21, 0.16), (p["brow_lightness"], (0.16, 0.13, 0.10))),
        nose_y=0.243 + 0.050 * p["nose_length"],
        nose_width=0.105 + 0.028 * p["nose_width"],
        mouth_y=np.full(len(people), 0.480, np.float32),
        mouth_width=0.205 + 0.040 * p["mouth_width"],
        lip=lip,
        lip_colour=_colour((0.66, 0.33, 0.32), (p["iris_hue"], (0.09, -0.05, 0.0)), (p["iris_lightness"], (0.03, 0.06, 0.07))),
        gap=gap,
        skin=_colour((0.76, 0.57, 0.46), (q["skin"], (0.13, 0.14, 0.14))) + conditions.tint,
        hair=_colour((0.34, 0.25, 0.19), (q["hair_lightness"], (0.22, 0.18, 0.11)), (q["hair_redness"], (0.08, -0.02, -0.06))),
        hair_width=0.600 + 0.050 * q["hair_width"],
        hair_top=-0.800 - 0.050 * q["hair_height"],
        hair_bottom=0.250 + 0.270 * q["hair_length"],
        neck=0.270 + 0.045 * q["neck_width"],
        face_y=np.full(len(people), 0.070, np.float32),
        face_width=0.500 + 0.038 * q["face_width"],
        face_height=0.735 + 0.040 * q["face_height"],
        exponent=np.clip(2.4 + 0.47 * q["jaw_exponent"], 1.7, 3.6),
        taper=0.130 + 0.055 * q["chin_taper"],
        ear_y=0.020 + 0.075 * q["ear_height"],
    )  # fmt: skip


def _colour(base: tuple[float, ...], *directions: tuple[np.ndarray, tuple[float, ...]]) -> np.ndarray:
    colour = np.array(base, np.float32)
    for amount, direction in directions:
        colour = colour + amount[:, None] * np.array(direction, np.float32)
    return np.clip(colour, 0.03, 0.97).astype(np.float32)


def landmarks(face: Anatomy, conditions: Conditions, size: int) -> np.ndarray:
    """(n, 68, 2) x, y in pixels (0 is the centre of the first one), in the usual order."""
    n = len(conditions)
    points = np.empty((n, 68, 2), np.float32)

    def put(first: int, x: np.ndarray, y: np.ndarray, depth: float = 1.0) -> None:
        x, y = np.broadcast_arrays(x, y)
        where = slice(first, first + x.shape[1])
        points[:, where, 0] = x + depth * conditions.turn[:, :1]
        points[:, where, 1] = y + depth * conditions.turn[:, 1:]

    def column(values: np.ndarray) -> np.ndarray:
        return values[:, None]

    put(0, *contour(face, _JAW), depth=0)
    along = np.array([-1, -0.5, 0, 0.5, 1], np.float32)
    arch = 0.25 * column(face.brow_thickness) * (1 - along**2)
    for first, sign in ((17, -1), (22, 1)):
        x = sign * column(face.eye_x) + column(face.brow_width) * along
        slope = sign * column(face.brow_slope) * column(face.brow_width) * along
        put(first, x, column(face.brow_y) - 0.5 * column(face.brow_thickness) - arch + slope)
    bridge = np.array([0, 0.33, 0.66, 1], np.float32)
    put(27, np.zeros((n, 4)), column(face.eye_y) + (column(face.nose_y) - column(face.eye_y)) * bridge, _NOSE_DEPTH)
    base = np.array([-1, -0.5, 0, 0.5, 1], np.float32)
    put(31, column(face.nose_width) * base, column(face.nose_y) + 0.055 - 0.02 * np.abs(base), _NOSE_DEPTH)
    across, above = (
        np.array([-1, -0.45, 0.45, 1, 0.45, -0.45], np.float32),
        np.array([0, -0.85, -0.85, 0, 0.85, 0.85], np.float32),
    )
    for first, sign in ((36, -1), (42, 1)):
        x, y = column(face.eye_width) * across, column(face.eye_open) * above
        tilt = column(sign * face.eye_tilt)
        put(first, sign * column(face.eye_x) + x - tilt * y, column(face.eye_y) + y + tilt * x)
    half, middle = column(face.mouth_width), column(face.mouth_y)
    lower = middle + 2 * column(face.gap)  # the jaw falls, the upper lip stays
    turns = np.array([-1, -0.62, -0.25, 0, 0.25, 0.62, 1], np.float32)
    put(48, half * turns, middle - column(face.lip) * (1 - turns**2))
    put(55, half * turns[5:0:-1], lower + column(face.lip) * (1 - turns[5:0:-1] ** 2))
    put(60, half * np.array([-0.85, -0.3, 0, 0.3, 0.85], np.float32), middle + 0 * half)
    put(65, half * np.array([0.3, 0, -0.3], np.float32), lower)
    return _to_pixels(points, conditions, size)


def contour(face: Anatomy, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the face's outline, (n, k) x and y: a superellipse that narrows towards the chin."""
    power = 2 / face.exponent[:, None]
    cos, sin = np.cos(angles), np.sin(angles)
    y = face.face_height[:, None] * np.sign(sin) * np.abs(sin) ** power
    x = face.face_width[:, None] * np.sign(cos) * np.abs(cos) ** power
    return x * narrowing(y, face.taper[:, None]), face.face_y[:, None] + y


def narrowing(below: np.ndarray, taper: np.ndarray) -> np.ndarray:
    """Factor of the face's width at a height below its middle."""
    return 1 - taper * np.maximum(below, 0) * np.float32(1.6)


def _to_pixels(points: np.ndarray, conditions: Conditions, size: int) -> np.ndarray:
    cos, sin = np.cos(conditions.rotation)[:, None], np.sin(conditions.rotation)[:, None]
    x, y = points[..., 0], points[..., 1]
    moved = np.stack([cos * x - sin * y, sin * x + cos * y], -1) * conditions.scale[:, None, None]
    moved += conditions.shift[:, None]
    return ((moved + 1) * np.float32(size / 2) - np.float32(0.5)).astype(np.float32)
