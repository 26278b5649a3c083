"""The true surface: exact distances from points to the triangles that a cloud was sampled from.

What no attack sees: it estimates its normals from the points, while this measures against the shape itself.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

# Pairs of a point and a triangle that are measured at once (some twenty arrays of as many float64 triples).
_PAIRS = 2**17


def distance_to_triangles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of every point to the nearest of the triangles, exact.

    A triangle enters only if the sphere around it comes as near as the nearest triangle found so far.

    Args:
        points: (N, 3).
        triangles: (T, 3, 3), corners; one without area is the segment or the point that it is.

    Returns:
        (N,) float64.

    Raises:
        ValueError: other shapes, or no triangle.
    """
    points, triangles = np.asarray(points, np.float64), np.asarray(triangles, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or triangles.shape[1:] != (3, 3) or not len(triangles):
        raise ValueError(f"points (N, 3) and triangles (T > 0, 3, 3) are needed, got {points.shape}, {triangles.shape}")
    centres = triangles.mean(1)
    reach = np.linalg.norm(triangles - centres[:, None], axis=2).max(1)
    _, first = KDTree(centres).query(points)
    nearest = _pair_distance(points, triangles[first])
    rows = max(1, _PAIRS // len(triangles))
    for start in range(0, len(points), rows):
        part = slice(start, start + rows)
        apart = np.linalg.norm(points[part, None] - centres, axis=2)
        point, triangle = np.nonzero(apart - reach < nearest[part, None])
        for some in np.array_split(np.arange(len(point)), len(point) // _PAIRS + 1):
            found = _pair_distance(points[part][point[some]], triangles[triangle[some]])
            np.minimum.at(nearest, start + point[some], found)
    return nearest


def _pair_distance(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of point i to triangle i: (P, 3), (P, 3, 3) -> (P,).

    To the plane, where the foot of the perpendicular lies inside; else to the nearest of the three edges.
    """
    corners = triangles.transpose(1, 0, 2)
    edges = [corners[(side + 1) % 3] - corners[side] for side in range(3)]
    away = [points - corner for corner in corners]
    normal = np.cross(edges[0], -edges[2])
    area = np.einsum("ij,ij->i", normal, normal)
    inside = area > 0
    distance = np.full(len(points), np.inf)
    for edge, start in zip(edges, away, strict=True):
        inside &= np.einsum("ij,ij->i", np.cross(edge, start), normal) >= 0
        along = np.einsum("ij,ij->i", start, edge) / np.maximum(np.einsum("ij,ij->i", edge, edge), 1e-300)
        offset = start - np.clip(along, 0, 1)[:, None] * edge
        np.minimum(distance, np.linalg.norm(offset, axis=1), out=distance)
    height = np.abs(np.einsum("ij,ij->i", away[0], normal)) / np.sqrt(np.where(inside, area, 1))
    return np.where(inside, height, distance)
