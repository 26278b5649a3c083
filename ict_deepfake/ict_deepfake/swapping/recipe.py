"""What a swap is drawn from, and what was drawn for a batch of swaps (spec 2.3)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ict_deepfake.swapping.masks import FAMILIES, OF_FIVE_POINTS
from shared_utils import UserError

COLOURS = ("none", "mean", "reinhard")
BLENDS = ("hard", "feather", "gaussian", "poisson")
GRID = 4
"""Points to a side of the grid whose displacements deform a mask."""
_SIDE = 317  # of the aligned crop that kernels are given for


@dataclass(frozen=True)
class Recipe:
    """Weights and ranges of everything that a swap draws. Weights need not add up to 1.

    Kernels are for an aligned crop of 317 pixels and scale with the picture's side.

    Args:
        families: weight of each mask family, in the order of ``masks.FAMILIES``; with five points only the last three are
            drawn.
        deformation: range of the displacements' standard deviation, a share of the larger side of the face.
        erode: largest odd kernel of an erosion; as often as a dilation.
        dilate: largest odd kernel of a dilation.
        colours: weight of each colour correction, in the order of ``COLOURS``.
        blends: weight of each blend, in the order of ``BLENDS``; ``poisson`` costs a hundred times the others.
        feather: width of the soft edge, a share of the mask's larger side.
        blur: smallest and largest odd kernel of the Gaussian blend, which is applied twice.
        largest: masks that cover more than this share of the picture are drawn again.
        align: warp the donor so that its five points fall on the target's; aligned crops need no warp.
    """

    families: tuple[float, ...] = (1, 1, 1, 1, 1, 1, 1)
    deformation: tuple[float, float] = (0.01, 0.08)
    erode: int = 21
    dilate: int = 5
    colours: tuple[float, ...] = (0.1, 0.6, 0.3)
    blends: tuple[float, ...] = (0.1, 0.6, 0.3, 0)
    feather: float = 0.2
    blur: tuple[int, int] = (5, 25)
    largest: float = 0.8
    align: bool = False

    def __post_init__(self) -> None:
        for name, known in (("families", FAMILIES), ("colours", COLOURS), ("blends", BLENDS)):
            weights = getattr(self, name)
            if len(weights) != len(known) or min(weights) < 0 or not sum(weights):
                raise UserError(f"{name} takes {len(known)} weights, not all 0 ({', '.join(known)}); got {weights}")
        if self.erode < 1 or self.dilate < 1 or not 0 < self.feather <= 1 or not 0 < self.largest <= 1:
            raise UserError(f"a kernel is 1 or more, feather and largest in 0 to 1; got {self}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a YAML or JSON file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Draws:
    """What was drawn for n swaps, each (n,) or (n, k).

    Args:
        family: index into ``masks.FAMILIES``.
        box: (n, 4) how far a rectangle or an ellipse reaches beyond the eyes to the sides, above and below the face's five
            points, in distances between the eyes; and the exponent of a superellipse.
        displacement: (n, 2, GRID, GRID) of the grid, shares of the larger side of the face.
        grow: of the mask, in pixels of a picture whose side is 1: negative erodes.
        colour: index into ``COLOURS``.
        blend: index into ``BLENDS``.
        kernel: of the Gaussian blend, a share of the picture's side.
    """

    family: np.ndarray
    box: np.ndarray
    displacement: np.ndarray
    grow: np.ndarray
    colour: np.ndarray
    blend: np.ndarray
    kernel: np.ndarray

    def __len__(self) -> int:
        return len(self.family)

    def __getitem__(self, rows: np.ndarray | slice) -> Draws:
        return Draws(*(getattr(self, field.name)[rows] for field in fields(self)))

    def replaced(self, rows: np.ndarray, other: Draws) -> Draws:
        """These draws with those of ``other`` in the given rows."""
        columns = []
        for field in fields(self):
            column = getattr(self, field.name).copy()
            column[rows] = getattr(other, field.name)
            columns.append(column)
        return Draws(*columns)

    def facts(self, row: int = 0) -> dict[str, Any]:
        """The draws of one swap, in words and plain numbers."""
        return {
            "family": FAMILIES[self.family[row]],
            "deformation": round(float(self.displacement[row].std()), 4),
            "grow": round(float(self.grow[row]), 4),
            "colour": COLOURS[self.colour[row]],
            "blend": BLENDS[self.blend[row]],
        }


def draw(count: int, recipe: Recipe, five: bool, rng: np.random.Generator) -> Draws:
    """Draw what ``count`` swaps need.

    Args:
        count: of swaps.
        recipe: weights and ranges.
        five: only five points are known.
        rng: draws everything.

    Raises:
        UserError: the recipe gives the families of five points no weight, and there are five.
    """
    families = np.array(recipe.families, float)
    if five:
        families[: -len(OF_FIVE_POINTS)] = 0
        if not families.any():
            raise UserError(
                f"with five points a mask is one of {', '.join(OF_FIVE_POINTS)}: give them weight in families, or 68 points"
            )

    def choice(weights: np.ndarray) -> np.ndarray:
        edges = np.cumsum(weights / weights.sum())
        return np.minimum(np.searchsorted(edges, rng.random(count), side="right"), np.flatnonzero(weights)[-1])

    def odd(low: int, high: int) -> np.ndarray:
        return 2 * rng.integers(low // 2, (high + 1) // 2, count) + 1

    box = rng.uniform([0.15, 0.30, 0.10, 2.5], [0.50, 0.75, 0.45, 4.0], (count, 4))
    scale = rng.uniform(*recipe.deformation, count)
    eroded, dilated = odd(1, recipe.erode), odd(1, recipe.dilate)
    grow = np.where(rng.random(count) < 0.5, -(eroded - 1), dilated - 1) / 2 / _SIDE
    return Draws(
        family=choice(families),
        box=box,
        displacement=(scale[:, None, None, None] * rng.standard_normal((count, 2, GRID, GRID))),
        grow=grow,
        colour=choice(np.array(recipe.colours, float)),
        blend=choice(np.array(recipe.blends, float)),
        kernel=odd(*recipe.blur) / _SIDE,
    )


def plainest(draws: Draws) -> Draws:
    """The same swaps with a mask that is neither deformed nor grown, within a small ellipse: never empty, never too large."""
    count = len(draws)
    return Draws(
        family=np.full(count, FAMILIES.index("ellipse")),
        box=np.tile([0.15, 0.30, 0.10, 2.5], (count, 1)),
        displacement=np.zeros_like(draws.displacement),
        grow=np.zeros(count),
        colour=draws.colour,
        blend=draws.blend,
        kernel=draws.kernel,
    )
