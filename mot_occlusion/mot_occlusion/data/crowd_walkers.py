"""The walkers of the procedural crowd: what they wear, and how one is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

# Sprites are drawn this many times larger and averaged down, which gives soft edges and boxes to a third of a pixel.
_SHARPNESS = 3


@dataclass
class Look:
    """What a person wears; colours are RGB."""

    shirt: np.ndarray
    trousers: np.ndarray
    second: np.ndarray
    shoes: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    pattern: str
    hat: bool
    bag: str
    skirt: bool
    girth: float


@dataclass
class Walker:
    """A person who walks, stops and turns: place in pixels, heading in radians, pace in body heights a frame."""

    number: int
    look: Look
    x: float
    y: float
    heading: float
    pace: float
    size: float
    phase: float
    stopped: int = 0
    leader: Walker | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    seen: bool = field(default=False)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) float RGB."""
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.beta(1.6, 1.6), rng.uniform(45, 235)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


def new_look(rng: np.random.Generator, others: list[Look]) -> Look:
    """Clothes drawn at random, now and then nearly those of one of ``others``."""
    skin = np.array([224, 172, 138]) * rng.uniform(0.35, 1.05)
    look = Look(
        shirt=random_colour(rng),
        trousers=random_colour(rng) * rng.uniform(0.4, 1.0),
        second=random_colour(rng),
        shoes=random_colour(rng) * 0.5,
        skin=skin,
        hair=np.array([70, 50, 35]) * rng.uniform(0.2, 2.2),
        pattern=str(rng.choice(["plain", "plain", "stripes", "bars", "patch", "vest"])),
        hat=bool(rng.random() < 0.25),
        bag=str(rng.choice(["none", "none", "backpack", "handbag"])),
        skirt=bool(rng.random() < 0.2),
        girth=rng.uniform(0.85, 1.2),
    )
    if others and rng.random() < 0.1:
        # Nearly the same clothes as another person who is there.
        twin = others[rng.integers(len(others))]
        look.shirt, look.pattern, look.second = twin.shirt + rng.normal(0, 6, 3), twin.pattern, twin.second
        if rng.random() < 0.5:
            look.trousers = twin.trousers + rng.normal(0, 6, 3)
    return look


def draw_walker(walker: Walker, height: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """A walker as (colour patch, alpha, exact box x, y, w, h, left, top); the patch lies at (left, top) of the image."""
    look, unit = walker.look, height * _SHARPNESS
    side = np.cos(walker.heading)
    half = round(0.34 * height) + 2
    left, top = int(np.floor(walker.x)) - half, int(np.floor(walker.y - height)) - 2
    size = ((int(np.ceil(height)) + 6) * _SHARPNESS, 2 * half * _SHARPNESS)
    colour, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    origin = np.array([walker.x - left, walker.y - height - top]) * _SHARPNESS
    swing = np.sin(walker.phase) * (0 if walker.stopped else 1) * (0.4 + 0.6 * abs(side))
    girth = look.girth * (0.8 + 0.2 * abs(np.sin(walker.heading)))

    def at(x: float, y: float) -> tuple[int, int]:
        """A place in heights of the person: x from the middle, y from the crown."""
        return round(float(origin[0] + x * unit)), round(float(origin[1] + y * unit))

    def limb(start: tuple[float, float], end: tuple[float, float], width: float, paint: np.ndarray) -> None:
        thickness = max(1, round(width * unit))
        cv2.line(colour, at(*start), at(*end), tuple(paint), thickness)
        cv2.line(mask, at(*start), at(*end), 255, thickness)

    def shape(corners: list[tuple[float, float]], paint: np.ndarray) -> None:
        polygon = [np.array([at(*corner) for corner in corners], np.int32)]
        cv2.fillPoly(colour, polygon, tuple(paint))
        cv2.fillPoly(mask, polygon, 255)

    def disc(x: float, y: float, radius: float, paint: np.ndarray) -> None:
        cv2.circle(colour, at(x, y), max(1, round(radius * unit)), tuple(paint), -1)
        cv2.circle(mask, at(x, y), max(1, round(radius * unit)), 255, -1)

    shoulder, hip = 0.13 * girth, 0.10 * girth
    back = -np.sign(side) if abs(side) > 0.2 else 1.0
    limb((-shoulder * 0.9, 0.2), (-shoulder - 0.02 + 0.1 * swing, 0.46), 0.05, look.shirt * 0.75)  # far arm
    for foot, sign in ((-0.04, -1), (0.04, 1)):
        knee = (foot + 0.06 * sign * swing, 0.74)
        end = (foot + 0.14 * sign * swing, 0.965)
        paint = look.skin if look.skirt else look.trousers * (0.8 if sign < 0 else 1)
        limb((foot, 0.52), knee, 0.075 * girth, paint)
        limb(knee, end, 0.06 * girth, paint)
        limb(end, (end[0] + 0.04 * np.sign(side or 1), 0.98), 0.04, look.shoes)
    if look.skirt:
        shape([(-hip, 0.48), (hip, 0.48), (hip + 0.05, 0.72), (-hip - 0.05, 0.72)], look.trousers)
    if look.bag == "backpack":
        shape([(back * 0.04, 0.19), (back * 0.21, 0.21), (back * 0.2, 0.42), (back * 0.04, 0.42)], look.second)
    torso = [
        (-shoulder, 0.17),
        (-shoulder * 0.5, 0.14),
        (shoulder * 0.5, 0.14),
        (shoulder, 0.17),
        (hip, 0.53),
        (-hip, 0.53),
    ]
    shape(torso, look.shirt)
    inner = min(shoulder, hip) * 0.95
    if look.pattern == "stripes":
        for y in np.arange(0.18, 0.5, 0.075):
            shape([(-inner, y), (inner, y), (inner, y + 0.035), (-inner, y + 0.035)], look.second)
    elif look.pattern == "bars":
        for x in np.arange(-inner, inner, 0.07):
            shape([(x, 0.17), (x + 0.03, 0.17), (x + 0.03, 0.52), (x, 0.52)], look.second)
    elif look.pattern == "patch":
        shape([(-0.05, 0.22), (0.06, 0.22), (0.06, 0.33), (-0.05, 0.33)], look.second)
    elif look.pattern == "vest":
        shape([(-0.03, 0.15), (0.03, 0.15), (0.03, 0.53), (-0.03, 0.53)], look.second)
    limb((shoulder * 0.9, 0.2), (shoulder + 0.02 - 0.1 * swing, 0.46), 0.05, look.shirt * 0.9)
    disc(shoulder + 0.02 - 0.1 * swing, 0.48, 0.022, look.skin)
    if look.bag == "handbag":
        x = shoulder + 0.03 - 0.1 * swing
        shape([(x - 0.05, 0.5), (x + 0.06, 0.5), (x + 0.06, 0.6), (x - 0.05, 0.6)], look.second)
    disc(0, 0.075, 0.062, look.skin)
    disc(back * 0.012, 0.058, 0.058, look.hair)
    disc(-back * 0.02, 0.085, 0.045, look.skin)
    if look.hat:
        shape([(-0.075, 0.045), (0.075, 0.045), (0.05, 0.0), (-0.05, 0.0)], look.second)

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.array([columns[0], rows[0]]) / _SHARPNESS
    high = np.array([columns[-1] + 1, rows[-1] + 1]) / _SHARPNESS
    small = (size[1] // _SHARPNESS, size[0] // _SHARPNESS)
    alpha = cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # Averaged with the black around it, so divided by the share of it that is the person.
    patch = cv2.resize(colour, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    patch /= np.maximum(alpha, 1 / 64)[..., None]
    box = np.concatenate((low + np.array([left, top]), high - low))
    return patch, alpha, box, left, top
