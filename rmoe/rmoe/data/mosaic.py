"""The procedural default: mosaics of textures whose class depends on the visible domain of the image.

One of D domains gives an image its colour; patches show one of A textures; the class is rule[domain, texture], a fixed
random permutation of the textures modulo K in each domain: D A facts, which a narrow feed-forward layer cannot hold and
experts can, for each needs those of some domains only. Upstream images show one texture (as ImageNet shows one object),
downstream images are scenes of several. Perception is easy, for a patch shows a texture whole; the rule is what is
scarce. Everything follows from a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from shared_utils import UserError

Split = Literal["train", "val", "test"]
_SPLITS = ("train", "val", "test")
_WORLD, _UPSTREAM, _SCENES, _INSTANCES = range(4)
GREY, CONTRAST = 128, 40
"""Mean and standard deviation of the normalisation that turns a picture of a mosaic back into its values."""


class Upstream(NamedTuple):
    """Images of one texture.

    ``images``: (n, 3, S, S) float32; ``domains``, ``classes``: (n,) int64.
    """

    images: np.ndarray
    domains: np.ndarray
    classes: np.ndarray


class Scenes(NamedTuple):
    """Images of several regions.

    ``images``: (n, 3, S, S) float32; ``labels``, ``textures``: (n, S / patch, S / patch) int64, of patches; ``domains``:
    (n,) int64.
    """

    images: np.ndarray
    labels: np.ndarray
    domains: np.ndarray
    textures: np.ndarray


class Instance(NamedTuple):
    """An object of an instance image: ``mask`` (S, S) bool, what is visible of it; ``label`` 0..K-1; ``shape`` its kind."""

    mask: np.ndarray
    label: int
    shape: str


@dataclass(frozen=True)
class Mosaic:
    """What is drawn; every method draws the same again when called again.

    Args:
        seed: of palettes, textures, rules and all images.
        domains: D.
        textures: A.
        classes: K.
        image_size: S, of upstream images and scenes; a multiple of the patch.
        patch: side of a texture, tiled on the pixel grid.
        regions: Voronoi cells of a scene.
        instance_size: side of an instance image; a multiple of the patch.
        objects: at most so many in an instance image.
        object_sides: least and largest width and height of an object, in pixels.
        palette: standard deviation of a domain's colour.
        amplitude: of the textures, which are the same in all colours: colour tells the domain only.
        noise: standard deviation of a pixel's.
        one_rule: the rule of the first domain holds in all: the control in which nothing depends on the domain.
        shared_rule: downstream classes follow the upstream rule; false: rules of their own.
    """

    seed: int = 0
    domains: int = 8
    textures: int = 16
    classes: int = 8
    image_size: int = 32
    patch: int = 4
    regions: int = 5
    instance_size: int = 96
    objects: int = 5
    object_sides: Sequence[float] = (8, 48)
    palette: float = 0.5
    amplitude: float = 0.7
    noise: float = 0.45
    one_rule: bool = False
    shared_rule: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "object_sides", tuple(self.object_sides))  # a file has a list, which has no hash
        for name in ("image_size", "instance_size"):
            if getattr(self, name) % self.patch:
                raise UserError(f"{name} {getattr(self, name)} is not a multiple of the patch {self.patch}")
        if min(self.domains, self.textures, self.classes, self.regions, self.patch, self.objects) < 1:
            raise UserError("a mosaic needs at least one domain, texture, class, region, object and pixel a patch")
        if len(self.object_sides) != 2 or not 4 <= self.object_sides[0] <= self.object_sides[1] <= self.instance_size:
            raise UserError(
                f"object_sides {list(self.object_sides)} must be a least and a largest side, from 4 to the "
                f"instance_size, {self.instance_size}"
            )

    def _draw(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *stream))

    @cached_property
    def colours(self) -> np.ndarray:
        """(D, 3) float32, the offset of a domain."""
        drawn = self._draw(_WORLD, 0).standard_normal((self.domains, 3))
        return (self.palette * drawn).astype(np.float32)

    @cached_property
    def textons(self) -> np.ndarray:
        """(2 A, patch, patch) float32 of zero mean and unit deviation; the second half never carries a class."""
        drawn = self._draw(_WORLD, 1).standard_normal((2 * self.textures, self.patch, self.patch))
        drawn -= drawn.mean((1, 2), keepdims=True)
        return (drawn / drawn.std((1, 2), keepdims=True)).astype(np.float32)

    def rule(self, upstream: bool = False) -> np.ndarray:
        """(D, A) int64: the class of a texture in a domain."""
        rng = self._draw(_WORLD, 2 if upstream or self.shared_rule else 3)
        rows = [rng.permutation(self.textures) % self.classes for _ in range(self.domains)]
        return np.stack(rows[:1] * self.domains if self.one_rule else rows)

    def _render(self, textures: np.ndarray, domains: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n, h, w) texture of each patch, (n,) domain -> (n, 3, h patch, w patch)."""
        count, rows, columns = textures.shape
        tiles = self.textons[textures].transpose(0, 1, 3, 2, 4)
        grey = self.amplitude * tiles.reshape(count, 1, rows * self.patch, columns * self.patch)
        noise = rng.standard_normal((count, 3, *grey.shape[2:]), dtype=np.float32)
        return self.colours[domains][:, :, None, None] + grey + np.float32(self.noise) * noise

    def upstream(self, split: Split, count: int) -> Upstream:
        """Object-centric images with their domain and class."""
        rng = self._draw(_UPSTREAM, _SPLITS.index(split))
        domains = rng.integers(self.domains, size=count)
        textures = rng.integers(self.textures, size=count)
        side = self.image_size // self.patch
        whole = np.broadcast_to(textures[:, None, None], (count, side, side))
        return Upstream(self._render(whole, domains, rng), domains, self.rule(upstream=True)[domains, textures])

    def scenes(self, split: Split, count: int) -> Scenes:
        """Scenes with a class for every patch."""
        rng = self._draw(_SCENES, _SPLITS.index(split))
        domains = rng.integers(self.domains, size=count)
        textures = _voronoi(rng, count, self.image_size // self.patch, self.regions, self.textures)
        images = self._render(textures, domains, rng)
        return Scenes(images, self.rule()[domains[:, None, None], textures], domains, textures)

    def instances(self, split: Split, number: int) -> tuple[np.ndarray, list[Instance]]:
        """One image of objects that cover each other, on a mosaic of textures without a class.

        Objects are discs, rectangles and triangles. Mirroring an image makes other textures of its own, which are in no
        other image: it is not an augmentation here.

        Args:
            split: train, val or test.
            number: which image of the split.

        Returns:
            The image (S, S, 3) uint8 of S = ``instance_size``, and what is visible of its objects (at least 16 pixels).
        """
        rng = self._draw(_INSTANCES, _SPLITS.index(split), number)
        size = self.instance_size
        domain, side = int(rng.integers(self.domains)), size // self.patch
        textures = _voronoi(rng, 1, side, self.regions, self.textures) + self.textures
        pattern = textures[0].repeat(self.patch, 0).repeat(self.patch, 1)
        found: list[tuple[np.ndarray, int, str]] = []
        for _ in range(int(rng.integers(1, self.objects + 1))):
            shape, mask = _shape(rng, size, *self.object_sides)
            texture = int(rng.integers(self.textures))
            pattern = np.where(mask, texture, pattern)
            found = [(seen & ~mask, label, kind) for seen, label, kind in found]
            found.append((mask, int(self.rule()[domain, texture]), shape))
        row, column = np.mgrid[:size, :size] % self.patch
        grey = self.amplitude * self.textons[pattern, row, column]
        noise = self.noise * rng.standard_normal((size, size, 3))
        values = self.colours[domain] + grey[:, :, None] + noise
        return to_pixels(values), [Instance(*each) for each in found if each[0].sum() >= 16]


def to_pixels(values: np.ndarray) -> np.ndarray:
    """Values of a mosaic as 8 bits: 0 becomes ``GREY``, one unit ``CONTRAST`` grey levels."""
    return np.clip(np.rint(GREY + CONTRAST * values), 0, 255).astype(np.uint8)


def _voronoi(rng: np.random.Generator, count: int, side: int, regions: int, textures: int) -> np.ndarray:
    """(count, side, side): the texture of each cell of the nearest of ``regions`` random centres."""
    centres = rng.uniform(0, side, (count, regions, 2))
    cells = np.stack(list(np.mgrid[:side, :side]), -1) + 0.5
    distance = np.square(cells[None, :, :, None] - centres[:, None, None]).sum(-1)
    own = rng.integers(textures, size=(count, regions))
    return np.take_along_axis(own[:, None, None], distance.argmin(-1)[..., None], axis=-1)[..., 0]


def _shape(rng: np.random.Generator, size: int, least: float, largest: float) -> tuple[str, np.ndarray]:
    """A disc, rectangle or triangle somewhere in the image: (its name, (size, size) bool)."""
    width, height = rng.uniform(least, largest, 2)
    x0, y0 = rng.uniform(0, size - width), rng.uniform(0, size - height)
    y, x = (np.mgrid[:size, :size] + 0.5 - np.array([y0, x0])[:, None, None]) / np.array([height, width])[:, None, None]
    inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    kind = ("disc", "rectangle", "triangle")[int(rng.integers(3))]
    if kind == "disc":
        inside = np.square(2 * x - 1) + np.square(2 * y - 1) <= 1
    elif kind == "triangle":
        inside &= np.abs(2 * x - 1) <= y
    return kind, inside
