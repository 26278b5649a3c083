"""Ten families of furniture-like shapes, each a random bag of solids.

Proportions are drawn at random and so that families overlap: a stool may have a low back, a table an apron, a desk a
small drawer block, and bottle and vase differ only in how sharply their profile turns. Most parts are thick beside the
distance between 1024 points, because the attacks estimate normals from the points; lamp poles and shades are not.
z is up, -y the front.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from si_adv.data.solids import CIRCLE, CORNERS, Parts


def _legs(parts: Parts, rng: np.random.Generator, width: float, depth: float, height: float, splay: float) -> None:
    """Four legs below a rectangle; ``splay`` moves the feet outwards."""
    thickness = rng.uniform(0.06, 0.11)
    foot = thickness * rng.uniform(0.6, 1.0)
    for x, y in CORNERS * (width - thickness, depth - thickness):
        bottom = (x + splay * np.sign(x), y + splay * np.sign(y), 0.0)
        parts.prism(bottom, (x, y, height), (foot, foot), (thickness, thickness))


def _pedestal(parts: Parts, rng: np.random.Generator, height: float, reach: float) -> None:
    """One column on a round foot or on crossed beams."""
    parts.cylinder(rng.uniform(0.04, 0.08), 0.0, height)
    if rng.random() < 0.5:
        parts.cylinder(reach, 0.0, 0.03, top_radius=0.9 * reach)
    else:
        parts.box((-reach, -0.05, 0.0), (reach, 0.05, 0.08))
        parts.box((-0.05, -reach, 0.0), (0.05, reach, 0.08))


def _seat(parts: Parts, rng: np.random.Generator, width: float, depth: float, height: float, is_round: bool) -> None:
    thickness = rng.uniform(0.06, 0.14)
    if is_round:
        scale = np.array([(0, 0), (width, depth), (width, depth), (0, 0)]) / 2
        parts.loft(CIRCLE, scale, np.array([height - thickness, height - thickness, height, height]))
    else:
        parts.box((-width / 2, -depth / 2, height - thickness), (width / 2, depth / 2, height))


def _back(parts: Parts, rng: np.random.Generator, width: float, depth: float, seat: float, height: float) -> None:
    """A back rest at the rear edge of a seat: one panel, upright slats or rails between two posts."""
    lean, thickness = rng.uniform(0.0, 0.25) * height, rng.uniform(0.05, 0.09)
    y = depth / 2 - thickness / 2
    kind = rng.choice(3, p=(0.6, 0.2, 0.2))

    def post(x: float, size: float, low: float, high: float) -> None:
        bottom, top = (x, y + lean * low, seat + height * low), (x, y + lean * high, seat + height * high)
        parts.prism(bottom, top, (size, thickness))

    if kind == 0:
        post(0.0, width * rng.uniform(0.8, 1.0), 0.0 if rng.random() < 0.7 else 0.3, 1.0)
        return
    post(-width / 2 + 0.035, 0.07, 0.0, 1.0)
    post(width / 2 - 0.035, 0.07, 0.0, 1.0)
    post(0.0, width, 0.85, 1.0)
    if kind == 1:
        for x in np.linspace(-0.5, 0.5, rng.integers(4, 6))[1:-1] * width:
            post(x, 0.06, 0.0, 0.85)
    else:
        for low in np.linspace(0.15, 0.85, rng.integers(2, 4), endpoint=False):
            post(0.0, width, low, low + 0.12)


def _chair(parts: Parts, rng: np.random.Generator) -> None:
    width, depth = rng.uniform(0.36, 0.58, 2)
    seat = rng.uniform(0.32, 0.55)
    _seat(parts, rng, width, depth, seat, is_round=rng.random() < 0.15)
    if rng.random() < 0.8:
        _legs(parts, rng, width, depth, seat, splay=rng.uniform(0.0, 0.05))
    else:
        _pedestal(parts, rng, seat, reach=rng.uniform(0.18, 0.28))
    _back(parts, rng, width, depth, seat, height=rng.uniform(0.16, 0.6))
    if rng.random() < 0.3:
        rest = seat + rng.uniform(0.15, 0.25)
        for x in (-width / 2, width / 2):
            parts.box((x - 0.035, -depth / 2 + 0.03, rest - 0.06), (x + 0.035, depth / 2, rest))
            parts.box((x - 0.035, -depth / 2 + 0.04, seat), (x + 0.035, -depth / 2 + 0.11, rest))


def _stool(parts: Parts, rng: np.random.Generator) -> None:
    width = rng.uniform(0.28, 0.5)
    depth = width * rng.uniform(0.8, 1.1)
    seat = rng.uniform(0.35, 0.8)
    _seat(parts, rng, width, depth, seat, is_round=rng.random() < 0.5)
    if rng.random() < 0.75:
        splay = rng.uniform(0.0, 0.1)
        _legs(parts, rng, 0.8 * width, 0.8 * depth, seat, splay)
        if rng.random() < 0.6:
            rung = seat * rng.uniform(0.2, 0.5)
            x, y = 0.4 * width + 0.6 * splay, 0.4 * depth + 0.6 * splay
            for side in (-1, 1):
                parts.box((-x, side * y - 0.025, rung), (x, side * y + 0.025, rung + 0.05))
                parts.box((side * x - 0.025, -y, rung), (side * x + 0.025, y, rung + 0.05))
    else:
        _pedestal(parts, rng, seat, reach=rng.uniform(0.15, 0.25))
    if rng.random() < 0.25:
        _back(parts, rng, width, depth, seat, height=rng.uniform(0.08, 0.26))


def _top(parts: Parts, rng: np.random.Generator, width: float, depth: float, height: float) -> None:
    """The top of a table or desk with, at times, an apron below it."""
    thickness = rng.uniform(0.035, 0.08)
    parts.box((-width / 2, -depth / 2, height - thickness), (width / 2, depth / 2, height))
    if rng.random() < 0.45:
        drop = height - thickness - rng.uniform(0.04, 0.2)
        x, y = 0.47 * width, 0.45 * depth
        for side in (-1, 1):
            parts.box((-x, side * y - 0.025, drop), (x, side * y + 0.025, height - thickness))
            parts.box((side * x - 0.025, -y, drop), (side * x + 0.025, y, height - thickness))


def _table_stand(parts: Parts, rng: np.random.Generator, width: float, depth: float, height: float) -> None:
    """Legs or side panels, and at times a panel at the back."""
    if rng.random() < 0.65:
        _legs(parts, rng, 0.95 * width, 0.92 * depth, height, splay=0.0)
    else:
        for x in (-0.46 * width, 0.46 * width):
            parts.box((x - 0.04, -0.45 * depth, 0.0), (x + 0.04, 0.45 * depth, height))
    if rng.random() < 0.35:
        low = height * rng.uniform(0.1, 0.6)
        parts.box((-0.45 * width, 0.4 * depth, low), (0.45 * width, 0.45 * depth, height))


def _table(parts: Parts, rng: np.random.Generator) -> None:
    width, depth, height = rng.uniform(0.7, 1.7), rng.uniform(0.5, 1.0), rng.uniform(0.4, 0.85)
    kind = rng.random()
    if kind < 0.25:
        _seat(parts, rng, depth * rng.uniform(1.0, 1.4), depth, height, is_round=True)
        if rng.random() < 0.6:
            _pedestal(parts, rng, height, reach=0.35 * depth)
        else:
            _legs(parts, rng, 0.65 * depth, 0.65 * depth, height, splay=rng.uniform(0.0, 0.08))
        return
    _top(parts, rng, width, depth, height)
    _table_stand(parts, rng, width, depth, height)
    if rng.random() < 0.2:
        shelf = height * rng.uniform(0.15, 0.45)
        parts.box((-0.45 * width, -0.42 * depth, shelf), (0.45 * width, 0.42 * depth, shelf + 0.04))


def _desk(parts: Parts, rng: np.random.Generator) -> None:
    width, depth, height = rng.uniform(0.9, 1.7), rng.uniform(0.5, 0.9), rng.uniform(0.6, 0.85)
    _top(parts, rng, width, depth, height)
    _table_stand(parts, rng, width, depth, height)
    block, low = width * rng.uniform(0.18, 0.36), height * rng.uniform(0.0, 0.7)
    first = rng.choice((-1, 1))
    for side in (first, -first) if rng.random() < 0.35 else (first,):
        x0, x1 = sorted((side * 0.46 * width, side * (0.46 * width - block)))
        parts.box((x0, -0.44 * depth, low), (x1, 0.42 * depth, height - 0.02))
        drawers = rng.integers(1, 4)
        edges = np.linspace(low, height - 0.04, drawers + 1)
        for bottom, upper in pairwise(edges):
            parts.box((x0 + 0.02, -0.47 * depth, bottom + 0.015), (x1 - 0.02, -0.44 * depth, upper - 0.015))


def _bookshelf(parts: Parts, rng: np.random.Generator) -> None:
    width, depth, height = rng.uniform(0.5, 1.4), rng.uniform(0.22, 0.5), rng.uniform(0.6, 1.9)
    board = rng.uniform(0.045, 0.08)
    levels = np.linspace(rng.uniform(0.0, 0.12), height - board, rng.integers(3, 6))
    walls = np.linspace(-0.5, 0.5, 2 + rng.choice(3, p=(0.6, 0.25, 0.15))) * (width - board)
    for x in walls:
        parts.box((x - board / 2, -depth / 2, 0.0), (x + board / 2, depth / 2, height))
    for z in levels:
        parts.box((-width / 2, -depth / 2, z), (width / 2, depth / 2, z + board))
    if rng.random() < 0.75:
        parts.box((-width / 2, depth / 2 - board, 0.0), (width / 2, depth / 2, height))
    if rng.random() < 0.5:
        gap = levels[1] - levels[0]
        for z in levels[:-1]:
            start, length = rng.uniform(-0.45, 0.1), rng.uniform(0.1, 0.35)
            tall = z + board + (gap - board) * rng.uniform(0.5, 0.85)
            parts.box((start * width, -0.35 * depth, z), ((start + length) * width, 0.4 * depth, tall))


def _profile(rng: np.random.Generator, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii and heights (0 to 1) of a vessel: foot, belly, neck and lip, joined by turns that ``sharpness`` makes narrow."""
    belly, neck = rng.uniform(0.2, 0.3), rng.uniform(0.06, 0.11)
    foot, lip = belly * rng.uniform(0.7, 1.0), neck * rng.uniform(1.2, 1.8)
    shoulder = rng.uniform(0.55, 0.7)
    z = np.linspace(0.0, 1.0, 28)

    def turn(centre: float, span: float) -> np.ndarray:
        t = np.clip((z - centre) / span + 0.5, 0.0, 1.0)
        return t * t * (3 - 2 * t)

    span = 0.1 + 0.75 * (1 - sharpness)
    radius = foot + (belly - foot) * turn(0.6 * span * (1 - 0.5 * sharpness), span)
    radius += (neck - belly) * turn(shoulder, span)
    radius += (lip - neck) * turn(1.0 - 0.06 * sharpness, 0.06 + 0.5 * (1 - sharpness))
    return radius, z


def _vessel(parts: Parts, rng: np.random.Generator, sharpness: float) -> None:
    radius, z = _profile(rng, sharpness)
    parts.loft(CIRCLE, np.concatenate(([0.0], radius)), np.concatenate(([0.0], z)))
    if rng.random() < 0.5:
        parts.loft(CIRCLE, np.array([radius[-1], 0.0]), np.array([z[-1], z[-1]]))


def _bottle(parts: Parts, rng: np.random.Generator) -> None:
    _vessel(parts, rng, sharpness=rng.uniform(0.65, 1.0))


def _vase(parts: Parts, rng: np.random.Generator) -> None:
    _vessel(parts, rng, sharpness=rng.uniform(0.0, 0.45))


def _lamp(parts: Parts, rng: np.random.Generator) -> None:
    height, shade = rng.uniform(0.6, 1.5), rng.uniform(0.14, 0.3)
    drop = rng.uniform(0.18, 0.4)
    if rng.random() < 0.35:
        radius, z = _profile(rng, sharpness=rng.random())
        body = height - 0.5 * drop
        parts.loft(CIRCLE, np.concatenate(([0.0], radius)) * 0.55, np.concatenate(([0.0], z)) * body)
    else:
        base = rng.uniform(0.1, 0.24)
        parts.cylinder(base, 0.0, rng.uniform(0.02, 0.08), top_radius=base * rng.uniform(0.3, 1.0))
        parts.cylinder(rng.uniform(0.012, 0.03), 0.0, height)
    parts.loft(CIRCLE, np.array([shade, shade * rng.uniform(0.4, 1.0)]), np.array([height - drop, height]))


def _monitor(parts: Parts, rng: np.random.Generator) -> None:
    width, height = rng.uniform(0.4, 0.75), rng.uniform(0.26, 0.48)
    bottom, lean = rng.uniform(0.05, 0.2), rng.uniform(-0.02, 0.08)
    thickness = rng.uniform(0.05, 0.1)
    if rng.random() < 0.2:
        # A cathode-ray tube: a tapering hull behind the screen, built along y from three boxes.
        for step, share in enumerate((0.9, 0.7, 0.5)):
            x, z0, z1 = share * width / 2, bottom + (1 - share) * 0.4 * height, bottom + (0.6 + 0.4 * share) * height
            parts.box((-x, thickness + step * 0.09, z0), (x, thickness + (step + 1) * 0.09, z1))
    parts.prism((0, 0, bottom), (0, lean, bottom + height), (width, thickness))
    neck = rng.uniform(0.04, 0.09)
    parts.box((-neck, thickness / 2, 0.0), (neck, thickness / 2 + 0.06, bottom + 0.5 * height))
    foot = rng.uniform(0.1, 0.2)
    if rng.random() < 0.5:
        parts.cylinder(foot, 0.0, 0.04)
    else:
        parts.box((-1.3 * foot, -0.7 * foot, 0.0), (1.3 * foot, 0.7 * foot, 0.04))


def _bathtub(parts: Parts, rng: np.random.Generator) -> None:
    length, width, height = rng.uniform(1.2, 1.8), rng.uniform(0.6, 0.9), rng.uniform(0.35, 0.65)
    power = 2 / rng.uniform(2.0, 6.0)
    outline = np.sign(CIRCLE) * np.abs(CIRCLE) ** power / 2
    size, foot = np.array([length, width]), rng.uniform(0.6, 1.0)
    base, wall, floor = rng.uniform(0.0, 0.12), rng.uniform(0.1, 0.18), rng.uniform(0.1, 0.18)
    inner = size - 2 * wall
    # A round rim: four steps of a half circle from the outer wall to the inner one.
    turn = np.linspace(np.pi, 0, 5)[:, None]
    rim, over = (size + inner) / 2 - (size - inner) / 2 * np.cos(turn), height + wall / 2 * np.sin(turn[:, 0])
    scale = np.stack((0 * size, foot * size, *rim, foot * inner * 0.9, 0 * size))
    parts.loft(outline, scale, np.array([base, base, *over, base + floor, base + floor]))
    if base > 0.05:
        for x, y in CORNERS * 0.6 * foot * size:
            parts.cylinder(0.06, 0.0, base + 0.02, (x, y))


FAMILIES: dict[str, Callable[[Parts, np.random.Generator], None]] = {
    "bathtub": _bathtub,
    "bookshelf": _bookshelf,
    "bottle": _bottle,
    "chair": _chair,
    "desk": _desk,
    "lamp": _lamp,
    "monitor": _monitor,
    "stool": _stool,
    "table": _table,
    "vase": _vase,
}


def procedural_mesh(family: str, rng: np.random.Generator) -> np.ndarray:
    """Triangles (T, 3, 3), float64, of a random member of ``family``: posed, in arbitrary units, z up.

    The pose is a scale of 0.8 to 1.25 along each axis and a rotation of up to 15 degrees about the vertical.
    """
    parts = Parts()
    FAMILIES[family](parts, rng)
    scale = rng.uniform(0.8, 1.25, 3)
    angle = np.deg2rad(rng.uniform(-15.0, 15.0))
    cos, sin = np.cos(angle), np.sin(angle)
    return parts.triangles() * scale @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
