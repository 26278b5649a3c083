"""The records of the data: what a file holds (``Geometry``), a model-ready cloud (``Sample``) and a ``Batch`` of them."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError
from si_adv.geometry import estimate_normals

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")

#: What a saved cloud says where its coordinates are those that a classifier sees: a comment of a PLY or text file, the entry
#: ``frame`` of an npz. Normalised once more, every point of an adversarial cloud would move.
FRAME = "si_adv: coordinates as the classifier sees them, not to be normalised again"


class Geometry(NamedTuple):
    """What a file holds: a cloud, or a mesh where there are faces."""

    points: np.ndarray
    """(N, 3) float64, the units of the file."""
    normals: np.ndarray | None = None
    """(N, 3) float64, of the points, as the file has them."""
    faces: np.ndarray | None = None
    """(F, 3) int64 triangles."""
    framed: bool = False
    """Whether the file says that its points are in the frame of a classifier (see ``FRAME``)."""


class Sample(NamedTuple):
    """One model-ready cloud."""

    points: Tensor
    """(N, 3) float32, centred on their mean, largest radius one; or as stored, where the file says so (``FRAME``)."""
    normals: Tensor
    """(N, 3) float32, unit or zero (undefined); (0, 3) where the data set leaves them out."""
    label: int
    """Class index; -1 where unknown."""
    name: str
    """What the data set or the file calls the cloud."""


class Batch(Protocol):
    """What a ``DataLoader`` makes of B samples: a tuple of the fields of ``Sample`` with a leading dimension."""

    points: Tensor
    """(B, N, 3) float32."""
    normals: Tensor
    """(B, N, 3) float32, or (B, 0, 3)."""
    label: Tensor
    """(B,) int64."""
    name: list[str]
    """B names."""

    def _replace(self, *, points: Tensor) -> Self:
        """The batch with other points."""
        ...


def normalise(points: np.ndarray, name: str = "cloud") -> tuple[np.ndarray, np.ndarray, float]:
    """Centre on the mean and divide by the largest radius.

    Returns:
        Points (N, 3), the centre (3,) and the radius taken out.

    Raises:
        UserError: all points coincide.
    """
    centre = points.mean(0)
    points = points - centre
    radius = float(np.sqrt(np.einsum("ij,ij->i", points, points).max()))
    if not radius > 1e-12 * (1 + float(np.abs(centre).max())):
        raise UserError(f"{name} has no extent: all its {len(points)} points coincide")
    return points / radius, centre, radius


def sample_triangles(triangles: np.ndarray, num_points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform by area on triangles (T, 3, 3).

    Returns:
        Points (N, 3), and the unit normals (N, 3) of their faces, which point to where the corners run
        counter-clockwise.

    Raises:
        UserError: the total area is zero.
    """
    origin, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    # Written out, for np.cross is several times slower on so few rows.
    cross = np.empty_like(first)
    cross[:, 0] = first[:, 1] * second[:, 2] - first[:, 2] * second[:, 1]
    cross[:, 1] = first[:, 2] * second[:, 0] - first[:, 0] * second[:, 2]
    cross[:, 2] = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    area = np.sqrt(np.einsum("ij,ij->i", cross, cross))
    reach = np.cumsum(area)
    if not (len(reach) and reach[-1] > 0):
        raise UserError("the mesh has no area to sample points from")
    draw = rng.random((3, num_points))
    chosen = np.searchsorted(reach, draw[0] * reach[-1], side="right")
    u, v = draw[1:, :, None]
    # The unit square folded onto the triangle u + v <= 1.
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return origin[chosen] + u * first[chosen] + v * second[chosen], cross[chosen] / area[chosen, None]


def prepare_cloud(
    points: np.ndarray,
    normals: np.ndarray | None,
    num_points: int | None,
    name: str,
    allow_upsample: bool = False,
    framed: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first ``num_points`` rows (``None``: all), normalised; float32. Normals are cut alike and scaled to unit length.

    ``framed`` points keep their place: they are in the frame of a classifier already. With fewer rows than asked for,
    ``allow_upsample`` repeats them from the first; otherwise, as for values that are not finite and clouds without
    extent, UserError names the cloud.
    """
    if num_points is not None and len(points) != num_points:
        if len(points) < num_points:
            if not allow_upsample:
                raise UserError(
                    f"{name} has {len(points)} points and {num_points} are asked for: ask for fewer or allow upsampling"
                )
            log.info("%s: its %d points are repeated to %d", name, len(points), num_points)
        rows = np.arange(num_points) % max(len(points), 1)
        points, normals = points[rows], None if normals is None else normals[rows]
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise UserError(f"{name}: point {int(bad.argmax())} (counted from 0) is NaN or infinite")
    normalised, _, _ = normalise(points.astype(np.float64), name)
    points = (points if framed else normalised).astype(np.float32)
    if normals is not None:
        normals = np.where(np.isfinite(normals), normals, 0.0)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = (normals / np.where(length > 1e-6, length, np.inf)).astype(np.float32)
    return points, normals


def complete_normals(points: np.ndarray, normals: np.ndarray | None) -> np.ndarray:
    """``normals`` (N, 3) with the missing ones (zero, or all where ``None``) estimated from the 20 nearest points."""
    if normals is not None and normals.any(1).all():
        return normals
    estimated = estimate_normals(torch.from_numpy(points)[None])[0].numpy()
    return estimated if normals is None else np.where(normals.any(1, keepdims=True), normals, estimated)


def sample_geometry(geometry: Geometry, num_points: int, rng: np.random.Generator, name: str) -> Geometry:
    """The cloud of a geometry: of a cloud all that it has, of a mesh ``num_points`` drawn by area, with face normals."""
    if geometry.faces is None:
        return geometry
    try:
        return Geometry(*sample_triangles(geometry.points[geometry.faces], num_points, rng))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
