"""Solids that shapes are put together from: prisms, lofts and cylinders, collected and turned into triangles at once."""

from __future__ import annotations

import numpy as np

_SIDES = 32

# The twelve triangles of a prism, outward, by corner: bottom 0-3 and top 4-7, each counter-clockwise from above.
_PRISM = np.array(
    [
        *((0, 2, 1), (0, 3, 2), (4, 5, 6), (4, 6, 7), (0, 1, 5), (0, 5, 4)),
        *((1, 2, 6), (1, 6, 5), (2, 3, 7), (2, 7, 6), (3, 0, 4), (3, 4, 7)),
    ]
)
CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
_ANGLES = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
CIRCLE = np.stack((np.cos(_ANGLES), np.sin(_ANGLES)), -1)


class Parts:
    """Collects the parts of one shape and turns them into triangles in two vectorised steps."""

    def __init__(self) -> None:
        self._prisms: list[tuple[float, ...]] = []
        self._surfaces: list[np.ndarray] = []

    def prism(self, bottom, top, size, top_size=None) -> None:
        """A box between two horizontal rectangles: centres ``bottom`` and ``top`` (x, y, z), sizes (x, y)."""
        self._prisms.append((*bottom, *top, *size, *(top_size or size)))

    def box(self, low, high) -> None:
        """An axis-parallel box between two opposite corners."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        self.prism((x, y, z0), (x, y, z1), (x1 - x0, y1 - y0))

    def loft(self, outline: np.ndarray, scale: np.ndarray, heights: np.ndarray, centre=(0.0, 0.0)) -> None:
        """The surface through copies of a closed outline (S, 2), scaled by ``scale`` (K,) or (K, 2), at the heights (K,).

        Outward where the heights rise and the outline runs counter-clockwise; a scale of zero closes it.
        """
        scale = np.asarray(scale, dtype=float)
        scale = scale[:, None] if scale.ndim == 1 else scale
        rings = np.empty((len(scale), len(outline), 3))
        rings[..., :2] = outline * scale[:, None] + centre
        rings[..., 2] = np.asarray(heights)[:, None]
        lower, upper = rings[:-1], rings[1:]
        lower_next, upper_next = np.roll(lower, -1, 1), np.roll(upper, -1, 1)
        first = np.stack((lower, lower_next, upper_next), -2)
        second = np.stack((lower, upper_next, upper), -2)
        self._surfaces += [first.reshape(-1, 3, 3), second.reshape(-1, 3, 3)]

    def cylinder(self, radius: float, low: float, high: float, centre=(0.0, 0.0), top_radius=None) -> None:
        """A closed cylinder or cone about the vertical through ``centre``."""
        top_radius = radius if top_radius is None else top_radius
        self.loft(CIRCLE, np.array([0, radius, top_radius, 0]), np.array([low, low, high, high]), centre)

    def triangles(self) -> np.ndarray:
        """(T, 3, 3)."""
        surfaces = list(self._surfaces)
        if self._prisms:
            rows = np.array(self._prisms)
            corners = np.empty((len(rows), 8, 3))
            corners[:, :4, :2] = rows[:, None, 0:2] + CORNERS * rows[:, None, 6:8]
            corners[:, 4:, :2] = rows[:, None, 3:5] + CORNERS * rows[:, None, 8:10]
            corners[:, :4, 2] = rows[:, 2, None]
            corners[:, 4:, 2] = rows[:, 5, None]
            surfaces.append(corners[:, _PRISM].reshape(-1, 3, 3))
        return np.concatenate(surfaces)
