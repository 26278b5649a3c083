"""Parametric faces painted back to front; everything is vectorised over pictures (spec 3.5)."""

from __future__ import annotations

import numpy as np

from ict_deepfake.procedural.anatomy import Anatomy, anatomy, landmarks, narrowing
from ict_deepfake.procedural.conditions import GRID, Conditions
from ict_deepfake.procedural.people import People

_PIXELS_AT_ONCE = 2**16  # planes of a chunk stay in the cache
_NOSE_DEPTH = 1.5


def render(people: People, conditions: Conditions, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw pictures.

    Args:
        people: n persons, one a picture.
        conditions: of the n pictures.
        size: side in pixels.

    Returns:
        images (n, size, size, 3) uint8 RGB, and the landmarks (n, 68, 2) in pixels.
    """
    images = np.empty((len(people), size, size, 3), np.uint8)
    points = landmarks(anatomy(people, conditions), conditions, size)
    chunk = max(1, _PIXELS_AT_ONCE // size**2)
    for start in range(0, len(people), chunk):
        rows = slice(start, start + chunk)
        images[rows] = _paint(people[rows], conditions[rows], size)
    return images, points


class _Canvas:
    """Pictures being painted, a plane a colour; ``x`` and ``y`` (n, h, w) are in the frame of the head."""

    def __init__(self, conditions: Conditions, size: int) -> None:
        axis = (2 * (np.arange(size, dtype=np.float32) + 0.5) / size - 1).astype(np.float32)
        self.soft = np.float32(size / 2)  # an edge is a pixel wide
        self.frame_x, self.frame_y = axis[None, None, :], axis[None, :, None]
        right, down = self.frame_x - _column(conditions.shift[:, 0]), self.frame_y - _column(conditions.shift[:, 1])
        cos = _column(np.cos(conditions.rotation) / conditions.scale)
        sin = _column(np.sin(conditions.rotation) / conditions.scale)
        self.x, self.y = cos * right + sin * down, cos * down - sin * right
        weights = _interpolation(size)
        background = np.matmul(np.matmul(weights, conditions.background), weights.T)
        self.planes = [np.ascontiguousarray(background[:, channel]) for channel in range(3)]

    def edge(self, distance: np.ndarray) -> np.ndarray:
        """1 inside, 0 outside, in place of a signed distance (negative inside)."""
        distance *= -self.soft
        distance += np.float32(0.5)
        return np.clip(distance, 0, 1, out=distance)

    def disc(self, x: np.ndarray, y: np.ndarray, half_x: np.ndarray, half_y: np.ndarray) -> np.ndarray:
        """Mask of an ellipse around the origin of the coordinates."""
        across, along = x / _column(half_x), y / _column(half_y)
        across *= across
        along *= along
        across += along
        np.sqrt(across, out=across)
        across -= 1
        across *= _column(np.minimum(half_x, half_y))
        return self.edge(across)

    def paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Blend a colour (n, 3) over where the mask is 1."""
        for channel, plane in enumerate(self.planes):
            difference = _column(colour[:, channel]) - plane
            difference *= mask
            plane += difference

    def shade(self, factor: np.ndarray) -> None:
        for plane in self.planes:
            plane *= factor


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _interpolation(size: int) -> np.ndarray:
    """(size, GRID): linear interpolation of a grid's values over a picture's side."""
    place = np.linspace(0, GRID - 1, size)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(GRID))).astype(np.float32)


def _paint(people: People, conditions: Conditions, size: int) -> np.ndarray:
    face = anatomy(people, conditions)
    canvas = _Canvas(conditions, size)
    _paint_head(canvas, face)
    near = (canvas.x - _column(conditions.turn[:, 0]), canvas.y - _column(conditions.turn[:, 1]))
    nose = (
        canvas.x - _column(_NOSE_DEPTH * conditions.turn[:, 0]),
        canvas.y - _column(_NOSE_DEPTH * conditions.turn[:, 1]),
    )
    _paint_eyes(canvas, face, *near)
    _paint_nose(canvas, face, *nose)
    _paint_mouth(canvas, face, *near)
    light = (
        1 + _column(conditions.gradient[:, 0]) * canvas.frame_x + _column(conditions.gradient[:, 1]) * canvas.frame_y
    )
    light *= _column(255 * conditions.gain)
    out = np.empty((len(conditions), size, size, 3), np.uint8)
    for channel, plane in enumerate(canvas.planes):
        plane *= light
        plane *= _column(conditions.balance[:, channel])
        out[..., channel] = np.clip(plane + np.float32(0.5), 0, 255)
    return out


def _paint_head(canvas: _Canvas, face: Anatomy) -> None:
    x, y = canvas.x, canvas.y
    across = np.abs(x)
    # Back hair: round above the ears, straight down to its length.
    middle = _column(face.hair_top + face.hair_width)
    round_part = canvas.disc(x, y - middle, face.hair_width, face.hair_width)
    fall = np.maximum(across - _column(face.hair_width), np.maximum(middle - y, y - _column(face.hair_bottom)))
    canvas.paint(np.maximum(round_part, canvas.edge(fall)), face.hair)
    # Neck and shoulders, in the shadow of the chin.
    shadow = 0.80 * face.skin
    neck = np.maximum(across - _column(face.neck) - np.maximum(y - np.float32(0.86), 0), np.float32(0.45) - y)
    canvas.paint(canvas.edge(neck), shadow)
    ear = canvas.disc(
        across - _column(face.face_width),
        y - _column(face.ear_y),
        np.full_like(face.ear_y, 0.075),
        0.13 + 0 * face.ear_y,
    )
    canvas.paint(ear, 0.90 * face.skin)
    # The face: a superellipse that narrows towards the chin.
    below = y - _column(face.face_y)
    width = narrowing(below, _column(face.taper))
    np.maximum(width, np.float32(0.2), out=width)
    width *= _column(face.face_width)
    u, v = across / width, np.abs(below) / _column(face.face_height)
    exponent = _column(face.exponent)
    radius = u**exponent
    radius += v**exponent
    inside = canvas.edge((radius ** (1 / exponent) - 1) * _column(face.face_width))
    canvas.paint(inside, face.skin)
    # Cheeks turn away from the light.
    np.clip(radius, 0, 1, out=radius)
    radius *= inside
    radius *= np.float32(-0.22)
    radius += 1
    canvas.shade(radius)
    # The fringe covers the forehead down to a line that follows the hair's height.
    line = _column(0.45 * face.hair_top + 0.02)
    fringe = np.maximum(
        y - line - np.float32(0.9) * across * across, across - _column(face.face_width) - np.float32(0.03)
    )
    canvas.paint(canvas.edge(fringe) * np.maximum(inside, round_part), face.hair)


def _paint_eyes(canvas: _Canvas, face: Anatomy, x: np.ndarray, y: np.ndarray) -> None:
    side = np.abs(x) - _column(face.eye_x)  # both eyes at once: positive away from the nose
    across = y - _column(face.eye_y)
    tilt = _column(face.eye_tilt)
    along, up = side + tilt * across, across - tilt * side
    lid = canvas.disc(along, up, face.eye_width + 0.022, face.eye_open + 0.022)
    canvas.paint(lid * np.float32(0.6), 0.45 * face.skin)
    white = canvas.disc(along, up, face.eye_width, face.eye_open)
    canvas.paint(white, np.broadcast_to(np.array([0.93, 0.92, 0.90], np.float32), face.skin.shape))
    ball = np.full_like(face.eye_x, 0.060)
    canvas.paint(canvas.disc(along, up, ball, ball) * white, face.iris)
    pupil = np.full_like(face.eye_x, 0.026)
    canvas.paint(canvas.disc(along, up, pupil, pupil) * white, np.broadcast_to(np.float32(0.04), face.skin.shape))
    height = y - _column(face.brow_y) - _column(face.brow_slope) * side + side * side * np.float32(1.2)
    half = _column(face.brow_width)
    brow = np.maximum(np.abs(height) - _column(face.brow_thickness), np.abs(side) - half)
    canvas.paint(canvas.edge(brow), face.brow_colour)


def _paint_nose(canvas: _Canvas, face: Anatomy, x: np.ndarray, y: np.ndarray) -> None:
    top, tip = _column(face.eye_y), _column(face.nose_y)
    share = np.clip((y - top) / (tip - top), 0, 1)
    flank = np.abs(
        np.abs(x) - (np.float32(0.045) + share * (_column(face.nose_width) - np.float32(0.045)))
    ) - np.float32(0.016)
    inside = np.maximum(top - y, y - tip)
    canvas.paint(canvas.edge(np.maximum(flank, inside)) * np.float32(0.45), 0.62 * face.skin)
    ridge = np.maximum(np.abs(x) - np.float32(0.028), inside)
    canvas.paint(canvas.edge(ridge) * np.float32(0.5), np.minimum(1.15 * face.skin, 1))
    base = canvas.disc(x, y - tip - np.float32(0.012), face.nose_width, np.full_like(face.nose_width, 0.045))
    canvas.paint(base * np.float32(0.5), 0.72 * face.skin)
    nostril = canvas.disc(
        np.abs(x) - _column(0.55 * face.nose_width),
        y - tip - np.float32(0.030),
        0.30 * face.nose_width,
        np.full_like(face.nose_width, 0.022),
    )
    canvas.paint(nostril, 0.30 * face.skin)


def _paint_mouth(canvas: _Canvas, face: Anatomy, x: np.ndarray, y: np.ndarray) -> None:
    below = y - _column(face.mouth_y)
    arch = 1 - np.clip((x / _column(face.mouth_width)) ** 2, 0, 1)
    opening = 2 * _column(face.gap) * arch
    lip = _column(face.lip) * arch
    outside = np.abs(x) - _column(face.mouth_width)
    canvas.paint(canvas.edge(np.maximum(np.maximum(-below - lip, below - opening - lip), outside)), face.lip_colour)
    canvas.paint(
        canvas.edge(np.maximum(np.maximum(-below, below - opening) - np.float32(0.008), outside + np.float32(0.02))),
        np.broadcast_to(np.array([0.20, 0.07, 0.07], np.float32), face.skin.shape),
    )
