"""How a person of the procedural street looks to a camera: masks of body parts in body coordinates, painted back to front.

Everything is vectorised over crops; a chunk of crops at a time keeps the arrays in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy import ndimage

from luperson_nl.data.street_people import BAGS, COLOURS, HAIR, PATTERNS, PERIODS, SKIN, People

VIEWS = ("front", "back", "side")
_CHUNK = 128


@dataclass
class Shots:
    """What differs from crop to crop of the same person and camera, each (n,) but ``window`` and ``occluder``.

    ``phase``: of the gait, radians; ``facing``: +1 or -1, which way a side view walks; ``shift`` (n, 2) and ``scale``: jitter
    of the box, shares of its height; ``window`` (n, 2): where the background is seen; ``occluder`` (n, 4): x0, y0, x1, y1 in
    shares of height, x from the middle (empty where x0 >= x1), and ``cover`` its colour; ``gain``: of the light.
    """

    phase: np.ndarray
    facing: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    window: np.ndarray
    occluder: np.ndarray
    cover: np.ndarray
    gain: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> Shots:
        return Shots(*(getattr(self, field.name)[rows] for field in fields(self)))


class Camera:
    """A camera of the street: its view, how it changes colours, its blur and noise, and the background that it sees.

    Args:
        rng: draws everything.
        view: index into ``VIEWS``.
        height: of a crop in pixels; blur and background scale with it.
    """

    def __init__(self, rng: np.random.Generator, view: int, height: int) -> None:
        self.view = view
        self.matrix = rng.uniform(-0.1, 0.1, (3, 3)).astype(np.float32)
        self.matrix[np.arange(3), np.arange(3)] = rng.uniform(0.75, 1.15, 3)
        self.offset = rng.uniform(-0.04, 0.08, 3).astype(np.float32)
        self.gamma = float(rng.uniform(0.7, 1.5))
        self.blur = float(rng.uniform(0.3, 0.9)) * height / 64
        self.noise = float(rng.uniform(0.01, 0.04))
        self.background = self._scene(rng, height)

    @staticmethod
    def _scene(rng: np.random.Generator, height: int) -> np.ndarray:
        """(2 height, 4 height, 3): a wall above a pavement, both mottled, with posts; colours near grey."""
        rows, columns = 2 * height, 4 * height
        wall, ground = (rng.uniform(0.25, 0.75) + rng.uniform(-0.08, 0.08, 3) for _ in range(2))
        below = np.arange(rows)[:, None, None] > 1.25 * height
        scene = np.where(below, ground, wall) * np.ones((1, columns, 1))
        for size, strength in ((height / 4, 0.10), (height / 16, 0.08)):
            mottled = ndimage.gaussian_filter(rng.standard_normal((rows, columns)), size)
            scene = scene + strength * (mottled / mottled.std())[..., None]
        for start in rng.integers(0, columns, 10):
            scene[:, start : start + int(rng.integers(2, height // 6 + 3))] *= rng.uniform(0.6, 1.4)
        return scene.clip(0, 1).astype(np.float32)


def render(
    people: People,
    cameras: list[Camera],
    seen_by: np.ndarray,
    shots: Shots,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw crops.

    Args:
        people: one a crop, n.
        cameras: of the street.
        seen_by: (n,) index of the camera.
        shots: of n crops.
        size: height and width in pixels.
        rng: the noise of the sensor.

    Returns:
        (n, height, width, 3) uint8 RGB.
    """
    out = np.empty((len(people), *size, 3), np.uint8)
    for index, camera in enumerate(cameras):
        own = np.flatnonzero(seen_by == index)
        for start in range(0, len(own), _CHUNK):
            rows = own[start : start + _CHUNK]
            image = _scene_with_person(people[rows], camera, shots[rows], size)
            image = image @ camera.matrix.T + camera.offset
            image = np.clip(image * shots.gain[rows, None, None, None], 0, 1) ** np.float32(camera.gamma)
            image = ndimage.gaussian_filter(image, (0, camera.blur, camera.blur, 0))
            image += np.float32(camera.noise) * rng.standard_normal(image.shape, np.float32)
            out[rows] = np.rint(255 * image.clip(0, 1))
    return out


class _Canvas:
    """Crops being painted; coordinates are of the body: 0 its top, 1 its feet, x from its middle in the same unit."""

    def __init__(self, shots: Shots, camera: Camera, size: tuple[int, int]) -> None:
        height, width = size
        self.soft = np.float32(height)  # an edge is a pixel wide
        y, x = (
            ((np.arange(height, dtype=np.float32) + 0.5) / height),
            ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) / height),
        )
        column = (slice(None), None, None)
        self.frame_x, self.frame_y = x[None, None, :], y[None, :, None]
        self.x = (self.frame_x - shots.shift[:, 0][column]) / shots.scale[column]
        self.y = (self.frame_y - 0.5 - shots.shift[:, 1][column]) / shots.scale[column] + 0.5
        rows = shots.window[:, 1, None] + np.arange(height)
        columns = shots.window[:, 0, None] + np.arange(width)
        self.image = camera.background[rows[:, :, None], columns[:, None, :]]

    def paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Blend a colour, (n, 3) or (n, h, w, 3), over where the mask is 1."""
        colour = colour[:, None, None] if colour.ndim == 2 else colour
        self.image += mask[..., None] * (colour - self.image)

    def _edge(self, distance: np.ndarray) -> np.ndarray:
        return np.clip(np.float32(0.5) - distance * self.soft, 0, 1)

    def box(self, middle: np.ndarray | float, half: np.ndarray | float, top: float, bottom: float) -> np.ndarray:
        """Mask of an upright rectangle; ``middle`` and ``half`` may be (n, 1, 1) or (n, h, 1)."""
        across = np.abs(self.x - np.float32(middle)) - np.float32(half)
        return self._edge(np.maximum(across, np.maximum(np.float32(top) - self.y, self.y - np.float32(bottom))))

    def disc(self, middle: np.ndarray | float, y: float, half_x: np.ndarray | float, half_y: float) -> np.ndarray:
        """Mask of an ellipse."""
        across, along = (
            (self.x - np.float32(middle)) / np.float32(half_x),
            (self.y - np.float32(y)) / np.float32(half_y),
        )
        return self._edge((np.sqrt(across**2 + along**2) - 1) * np.float32(half_y))

    def limb(self, x0: np.ndarray, y0: float, x1: np.ndarray, y1: float, half: np.ndarray | float) -> np.ndarray:
        """Mask of a limb between two points, whose horizontal cut is ``half`` to each side."""
        share = np.clip((self.y - np.float32(y0)) / np.float32(y1 - y0), 0, 1)
        return self.box(x0 + share * (x1 - x0), half, y0, y1)


def _woven(people: People, canvas: _Canvas) -> np.ndarray:
    """(n, h, w, 3): the cloth of the upper body."""
    column = (slice(None), None, None)
    period = np.array(PERIODS, np.float32)[people.period][column]
    u, v = canvas.x / period, canvas.y / period
    wave = {
        "hoops": np.sin(2 * np.pi * v) + 0 * u,
        "stripes": np.sin(2 * np.pi * u),
        "checks": 2 * np.sin(np.pi * 1.4 * u) * np.sin(np.pi * 1.4 * v),
        "diagonal": np.sin(1.4 * np.pi * (u + v)),
        "dots": 1.4 * np.cos(2 * np.pi * u) * np.cos(2 * np.pi * v) - 0.5,
    }
    chosen = np.full(canvas.x.shape[:1] + canvas.image.shape[1:3], -1, np.float32)
    for index, name in enumerate(PATTERNS[1:], start=1):
        rows = people.pattern == index
        chosen[rows] = np.clip(2.5 * wave[name][rows], -1, 1)
    share = ((chosen + 1) / 2)[..., None]
    first, second = COLOURS[people.top][:, None, None], COLOURS[people.second][:, None, None]
    return first + share * (second - first)


def _scene_with_person(people: People, camera: Camera, shots: Shots, size: tuple[int, int]) -> np.ndarray:
    """(n, h, w, 3) of 0 to 1, in the colours of the scene."""
    canvas, view = _Canvas(shots, camera, size), VIEWS[camera.view]
    column = (slice(None), None, None)
    build, facing, swing = people.build[column], shots.facing[column], np.sin(shots.phase)[column]
    side = view == "side"
    skin, cloth, bag = SKIN[people.skin], _woven(people, canvas), COLOURS[people.bag_colour]
    half = (0.075 if side else 0.115) * build
    zero = np.zeros_like(build)

    # Legs; the far one first.
    for sign in (-1, 1):
        hip = zero if side else sign * 0.055 * build
        foot = hip + (0.11 if side else 0.025) * sign * swing
        leg = canvas.limb(hip, 0.50, foot, 0.93, 0.048 * build)
        lower = canvas.y > 0.70
        covered = people.skirt[column] & lower
        canvas.paint(leg * ~covered, COLOURS[people.bottom])
        canvas.paint(leg * covered, skin)
        canvas.paint(
            canvas.box(foot + (0.02 * facing if side else 0), 0.055 * build, 0.92, 0.975), COLOURS[people.shoes]
        )
    flare = half * (1 + 0.45 * np.clip((canvas.y - 0.5) / 0.22, 0, 1))
    canvas.paint(canvas.box(0, flare, 0.48, 0.72) * people.skirt[column], COLOURS[people.bottom])

    backpack, shoulder, handbag = (people.bag == BAGS.index(name) for name in BAGS[1:])
    if side:
        canvas.paint(canvas.box(-facing * (half + 0.03), 0.045, 0.20, 0.42) * backpack[column], bag)
    arms = (0,) if side else (-1, 1)
    sleeve_end = np.where(people.sleeves, 0.49, 0.30).astype(np.float32)[column]

    def arm(sign: int) -> None:
        top = zero if side else sign * (half + 0.015)
        hand = top + (0.10 * swing * facing if side else sign * 0.02 + 0.02 * swing)
        mask = canvas.limb(top, 0.19, hand, 0.49, 0.03 * build)
        canvas.paint(mask, skin)
        canvas.paint(mask * (canvas.y < sleeve_end), cloth)
        if sign == arms[-1]:
            canvas.paint(canvas.box(hand, 0.055, 0.49, 0.62) * handbag[column], bag)

    for sign in arms if not side else ():
        arm(sign)
    taper = half * (1.08 - 0.25 * np.clip((canvas.y - 0.17) / 0.35, 0, 1))
    canvas.paint(canvas.box(0, taper, 0.165, 0.52), cloth)
    if view == "back":
        canvas.paint(canvas.box(0, 0.085, 0.20, 0.42) * backpack[column], bag)
    elif view == "front":
        strap = np.maximum(canvas.box(-0.6 * half, 0.014, 0.165, 0.40), canvas.box(0.6 * half, 0.014, 0.165, 0.40))
        canvas.paint(strap * backpack[column], bag)
    if not side:
        hang = half if view == "front" else -half
        canvas.paint(canvas.limb(-hang, 0.17, hang, 0.46, 0.014) * shoulder[column], bag)
        canvas.paint(canvas.box(hang, 0.055, 0.44, 0.58) * shoulder[column], bag)
    else:
        arm(0)
        canvas.paint(canvas.box(-0.02 * facing, 0.06, 0.44, 0.58) * shoulder[column], bag)

    # Head.
    head = canvas.disc(0, 0.10, 0.052, 0.07)
    canvas.paint(canvas.box(0, 0.022, 0.14, 0.18), skin)
    canvas.paint(head, skin)
    hair = {
        "front": canvas.y < 0.075,
        "back": canvas.y < 0.14,
        "side": (canvas.y < 0.07) | (canvas.x * facing < -0.012),
    }
    canvas.paint(head * hair[view], HAIR[people.hair])
    canvas.paint(canvas.box(0, 0.06, 0.02, 0.065) * people.hat[column], COLOURS[people.hat_colour])

    x0, y0, x1, y1 = (shots.occluder[:, i][column] for i in range(4))
    inside = (canvas.frame_x > x0) & (canvas.frame_x < x1) & (canvas.frame_y > y0) & (canvas.frame_y < y1)
    canvas.paint(inside.astype(np.float32), shots.cover)
    return canvas.image
