"""Clips that are made: a moving background and moving objects that occlude it, with their exact flow.

The textures are the photographs inside scikit-image, other ones for training, validation and test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import cv2
import numpy as np

from old_films_rtn.data.structures import draw_structure

Split = Literal["train", "val", "test"]
IMAGES: dict[Split, tuple[str, ...]] = {
    "train": (
        "camera",
        "brick",
        "gravel",
        "astronaut",
        "coffee",
        "rocket",
        "retina",
        "clock",
        "page",
        "immunohistochemistry",
    ),
    "val": ("coins", "hubble_deep_field"),
    "test": ("chelsea", "moon", "grass", "text"),
}
COLOURED = {"astronaut", "coffee", "rocket", "retina", "immunohistochemistry", "hubble_deep_field", "chelsea"}


class Scene(NamedTuple):
    """A made clip. Flows are in pixels, channel 0 = x, 1 = y."""

    frames: np.ndarray
    """(t, h, w) uint8, or (t, h, w, 3) RGB."""
    forward_flow: np.ndarray
    """(t - 1, 2, h, w) float32: where each pixel of frame i + 1 is in frame i."""
    backward_flow: np.ndarray
    """(t - 1, 2, h, w) float32: where each pixel of frame i is in frame i + 1."""
    forward_visible: np.ndarray
    """(t - 1, h, w) bool: whether it is seen there."""
    backward_visible: np.ndarray
    between: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    """Of any two frames: where each pixel of the first is in the second (2, h, w), and whether it is seen there (h, w)."""
    objects: np.ndarray
    """(t, h, w) bool: what is not background."""


@lru_cache(maxsize=32)
def photograph(name: str, colour: bool = False) -> np.ndarray:
    """One of scikit-image's photographs, (h, w) grey or (h, w, 3) RGB, float32 in [0, 1], shorter side at most 320."""
    import skimage.data

    image = getattr(skimage.data, name)()
    if image.ndim == 3 and not colour:
        image = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
    image = image.astype(np.float32) / 255
    factor = 320 / min(image.shape[:2])
    if factor < 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return image


def _pose(angle: float, scale: float, centre: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(3, 3): layer coordinates to frame coordinates, ``centre`` of the layer to ``place``."""
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    pose = np.eye(3)
    pose[:2, :2], pose[:2, 2] = turn, place - turn @ centre
    return pose


def _motion(rng: np.random.Generator, frames: int, speed: float) -> np.ndarray:
    """(frames, 2) places: a straight path of up to ``speed`` pixels a frame, bent a little."""
    direction = rng.uniform(0, 2 * math.pi)
    velocity = speed * math.sqrt(rng.random()) * np.array([math.cos(direction), math.sin(direction)])
    bends = rng.normal(0, 0.1 * speed, (frames, 2))
    return np.cumsum(velocity + bends, axis=0)


def _outline(rng: np.random.Generator, size: float) -> np.ndarray:
    """A smooth closed outline (n, 2) around 0, about ``size`` in radius."""
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    radii = np.ones(40)
    for order in (2, 3, 4):
        radii += rng.normal(0, 0.25 / order) * np.cos(order * angles + rng.uniform(0, 2 * math.pi))
    radii = size * np.clip(radii, 0.4, 1.8)
    return np.stack((radii * np.cos(angles), rng.uniform(0.6, 1) * radii * np.sin(angles)), 1)


LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Shares of red, green and blue."""


def recoloured(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A photograph (h, w, 3), in [0, 1], with its hues turned, or one without colour (h, w) in colours that are drawn: (h, w, 3).

    So a network cannot learn what colour things have, only where colours belong. What is drawn varies slowly over the picture
    and jumps where the lightness does, as the colours of things do; one shade can have many colours.
    """
    if image.ndim == 3:
        grey = image @ LUMA
        turn = rng.uniform(0, 2 * math.pi)
        chroma = (image - grey[..., None])[..., [0, 2]] * rng.uniform(0.6, 1.6)
        chroma = chroma @ np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], np.float32)
    else:
        grey = image
        y, x = (np.linspace(0, 1, side, dtype=np.float32) for side in grey.shape)
        chroma, total = np.zeros((*grey.shape, 2), np.float32), np.full(grey.shape, 1e-12, np.float32)
        for _ in range(10):
            row, column, shade = rng.random(3)
            far = ((y - row)[:, None] / 0.25) ** 2 + ((x - column) / 0.25) ** 2 + ((grey - shade) / 0.25) ** 2
            weight = np.exp(-far.astype(np.float32))
            chroma += weight[..., None] * rng.normal(0, 0.14, 2).astype(np.float32)
            total += weight
        chroma /= total[..., None]
    red, blue = grey + chroma[..., 0], grey + chroma[..., 1]
    green = (grey - 0.299 * red - 0.114 * blue) / 0.587
    return np.stack((red, green, blue), axis=-1).clip(0, 1)


Drawn = tuple[np.ndarray, np.ndarray | None, list[np.ndarray]]
"""A layer of a scene: texture, outline (n, 2) or cover (h, w) in the texture's pixels, and its pose in every frame. The
background has no outline."""


def _with_structures(
    rng: np.random.Generator, layers: list[Drawn], frames: int, size: tuple[int, int], max_speed: float, mean: float
) -> list[Drawn]:
    """The layers with structures above the background, some of them above the objects, too."""
    height, width = size
    texture, _, poses = layers[0]
    if rng.random() < 0.4:
        poses = [poses[frames // 2]] * frames
        layers = [(texture, None, poses), *layers[1:]]
    side = round(1.2 * math.hypot(height, width))
    added: list[Drawn] = []
    for _ in range(rng.poisson(mean)):
        drawn = draw_structure(rng, side, max(0.7, min(height, width) / 96 * rng.uniform(0.6, 2)))
        path = np.zeros((frames, 2))
        with_scene = rng.random()
        if with_scene > 0.75:
            path = _motion(rng, frames, max_speed)
            path -= path[frames // 2]
        place = rng.uniform((0.2 * width, 0.2 * height), (0.8 * width, 0.8 * height))
        stands = [_pose(0.0, 1.0, np.full(2, side / 2), place + step) for step in path]
        if with_scene < 0.6:
            back = np.linalg.inv(poses[frames // 2])
            stands = [poses[i] @ back @ stands[i] for i in range(frames)]
        added.append((drawn.texture, drawn.cover, stands))
    behind = len(added) - rng.integers(len(added) + 1)
    return [layers[0], *added[:behind], *layers[1:], *added[behind:]]


def make_scene(
    rng: np.random.Generator,
    split: Split = "train",
    frames: int = 5,
    height: int = 64,
    width: int = 64,
    max_speed: float = 6.0,
    max_objects: int = 3,
    colour: bool = False,
    structures: float = 0.0,
    recolour: bool = False,
    photographs: Sequence[np.ndarray] | None = None,
) -> Scene:
    """Draw a scene: a background in affine motion and 1 to ``max_objects`` objects with motions of their own.

    max_speed: pixels a frame. An object's texture is moved with its outline, so the flow of every pixel is that of the
    topmost layer's pose. colour: in RGB, of the coloured photographs alone. structures: mean number of posts, railings,
    letters and their like (see ``structures``), which move with the background, with the frame, or by themselves; then
    the background stands still in two scenes of five. recolour: with colour, every layer in colours that are drawn
    (``recoloured``), of all photographs, three in four of those in colour. photographs: of these instead of the split's,
    (h, w[, 3]) float32 in [0, 1].
    """
    names = [name for name in IMAGES[split] if not colour or recolour or name in COLOURED]
    number_of_textures = len(names) if photographs is None else len(photographs)
    channels = (3,) if colour else ()
    layers: list[Drawn] = []
    diagonal = math.hypot(height, width)
    for number in range(1 + int(rng.integers(1, max_objects + 1))):
        chosen = int(rng.integers(number_of_textures))
        if recolour and photographs is None and rng.random() < 0.5:
            coloured = [index for index, name in enumerate(names) if name in COLOURED]
            chosen = coloured[rng.integers(len(coloured))]
        texture = photograph(names[chosen], colour) if photographs is None else photographs[chosen]
        if recolour:
            texture = recoloured(rng, texture)
        # A little blur keeps what is sampled at whole pixels below the pixel frequency.
        factor = max(1.0, 1.3 * diagonal / min(texture.shape[:2])) * rng.uniform(0.8, 1.2)
        texture = cv2.resize(texture, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        texture = cv2.GaussianBlur(texture, (0, 0), rng.uniform(0.7, 1.1))
        if number:
            texture = np.clip(texture * rng.uniform(0.6, 1.3) + rng.uniform(-0.2, 0.2), 0, 1)
        middle = np.array([texture.shape[1] / 2, texture.shape[0] / 2])
        reach = np.maximum(middle - diagonal / 2, 0)
        centre = middle + rng.uniform(-1, 1, 2) * reach
        path = _motion(rng, frames, max_speed)
        start = np.array([width / 2, height / 2])
        if number:
            start = rng.uniform((0.1 * width, 0.1 * height), (0.9 * width, 0.9 * height))
        places = start + path - path[frames // 2]
        angle, turn = rng.uniform(0, 2 * math.pi) if number else rng.normal(0, 0.1), rng.normal(0, 0.015)
        zoom = rng.normal(0, 0.006)
        poses = [
            _pose(angle + turn * (i - frames // 2), math.exp(zoom * (i - frames // 2)), centre, places[i])
            for i in range(frames)
        ]
        outline = None
        if number:
            outline = centre + _outline(rng, rng.uniform(0.1, 0.24) * min(height, width))
        layers.append((texture, outline, poses))
    if structures:
        layers = _with_structures(rng, layers, frames, (height, width), max_speed, structures)

    rendered = np.empty((frames, height, width, *channels), np.float32)
    topmost = np.zeros((frames, height, width), np.int64)
    for i in range(frames):
        for number, (texture, outline, poses) in enumerate(layers):
            moved = cv2.warpAffine(
                texture, poses[i][:2], (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
            )
            if outline is None:
                rendered[i] = moved
                continue
            if outline.shape == texture.shape[:2]:
                share = cv2.warpAffine(outline, poses[i][:2], (width, height), flags=cv2.INTER_LINEAR)
            else:
                drawn = outline @ poses[i][:2, :2].T + poses[i][:2, 2]
                cover = np.zeros((height, width), np.uint8)
                cv2.fillPoly(cover, [np.round(drawn * 256).astype(np.int32)], 255, cv2.LINE_AA, 8)
                share = cover.astype(np.float32) / 255
            topmost[i][share > 0.5] = number
            share = share.reshape(share.shape + (1,) * len(channels))
            rendered[i] = share * moved + (1 - share) * rendered[i]

    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    pixels = np.stack((x, y, np.ones_like(x)))

    def flow(here: int, there: int) -> tuple[np.ndarray, np.ndarray]:
        moves = np.stack([poses[there] @ np.linalg.inv(poses[here]) for _, _, poses in layers])
        target = np.einsum("hwij,jhw->ihw", moves[topmost[here]][..., :2, :], pixels)
        column, row = np.round(target).astype(np.int64)
        near = 1e-6  # what stands still is inside, whatever rounding says
        inside = (target >= -near).all(0) & (target[0] <= width - 1 + near) & (target[1] <= height - 1 + near)
        seen = topmost[there][row.clip(0, height - 1), column.clip(0, width - 1)] == topmost[here]
        return (target - pixels[:2]).astype(np.float32), inside & seen

    forward = [flow(i + 1, i) for i in range(frames - 1)]
    backward = [flow(i, i + 1) for i in range(frames - 1)]
    empty = np.zeros((0, 2, height, width), np.float32), np.zeros((0, height, width), bool)

    def stacked(flows: list) -> tuple[np.ndarray, np.ndarray]:
        return (np.stack([f for f, _ in flows]), np.stack([v for _, v in flows])) if flows else empty

    (forward_flow, forward_visible), (backward_flow, backward_visible) = stacked(forward), stacked(backward)
    shown = np.round(np.clip(rendered, 0, 1) * 255).astype(np.uint8)
    return Scene(shown, forward_flow, backward_flow, forward_visible, backward_visible, flow, topmost > 0)
