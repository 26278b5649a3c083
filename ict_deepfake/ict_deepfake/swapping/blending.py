"""How a donor's face is joined to the target: weights of a mask, the blend, the boundary map (spec 2.3, step 4)."""

from __future__ import annotations

import cv2
import numpy as np


def feather(mask: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Weights that rise from the edge of the mask's convex hull inwards.

    ``clip(distance to the hull / (share * larger side of the mask), 0, 1)`` inside the mask, 0 outside. The distance is
    exact, to the hull's edges for all pixels at once.

    Args:
        mask: (h, w), inside where not 0.
        share: of the larger side, over which the weight rises to 1.

    Returns:
        (h, w) float32.
    """
    weights = np.zeros(mask.shape, np.float32)
    inside = mask != 0
    used = np.flatnonzero(inside.any(1))
    if not len(used):
        return weights
    # A row's ends are enough for the hull: cheaper than all pixels, and the same.
    left, right = inside[used].argmax(1), mask.shape[1] - 1 - inside[used, ::-1].argmax(1)
    ends = np.concatenate([np.stack([left, used], 1), np.stack([right, used], 1)]).astype(np.int32)
    corners = cv2.convexHull(ends)[:, 0].astype(np.float64)
    (x0, y0), (x1, y1) = ends.min(0), ends.max(0)
    larger = max(x1 - x0, y1 - y0)
    if len(corners) < 3:
        return weights
    edges = np.roll(corners, -1, 0) - corners
    normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / np.linalg.norm(edges, axis=1, keepdims=True)
    if ((corners.mean(0) - corners[0]) @ normals[0]) < 0:
        normals = -normals
    across = normals[:, :1] * np.arange(x0, x1 + 1) - (corners * normals).sum(1, keepdims=True)
    down = normals[:, 1:] * np.arange(y0, y1 + 1)
    depth = down[0][:, None] + across[0]
    distance = np.empty_like(depth)
    for edge in range(1, len(corners)):
        np.minimum(depth, np.add(down[edge][:, None], across[edge], out=distance), out=depth)
    box = slice(y0, y1 + 1), slice(x0, x1 + 1)
    weights[box] = np.clip(depth / (share * larger), 0, 1) * inside[box]
    return weights


def blurred(mask: np.ndarray, kernel: int) -> np.ndarray:
    """The mask, blurred twice with a Gaussian of an odd kernel; (h, w) float32."""
    soft = mask.astype(np.float32)
    for _ in range(2):
        soft = cv2.GaussianBlur(soft, (kernel, kernel), 0)
    return np.clip(soft, 0, 1)


def blend(donor: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``weights * donor + (1 - weights) * target``, truncated to uint8; (h, w, 3)."""
    w = weights[..., None].astype(np.float64)
    return (w * donor + (1 - w) * target).astype(np.uint8)


def blend_many(donors: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``blend`` of n pictures (n, h, w, 3) float32, rounded to uint8; ``donors`` is overwritten."""
    n, height, width, _ = donors.shape
    rows, base = donors.reshape(n, height, width * 3), targets.reshape(n, height, width * 3)
    rows -= base
    rows *= np.repeat(weights, 3, axis=2)
    rows += base
    rows += np.float32(0.5)
    return rows.astype(np.uint8).reshape(donors.shape)


def gradient_domain(donor: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Poisson blend: the donor's gradients inside the mask, the target's colours at its edge; (h, w, 3) uint8."""
    inside = (mask > 0.5).astype(np.uint8)
    inside[[0, -1]] = inside[:, [0, -1]] = 0
    if not inside.any():
        return target.copy()
    x, y, width, height = cv2.boundingRect(inside)
    # The place is that of the mask's middle, so that nothing moves.
    middle = (x + width // 2, y + height // 2)
    return cv2.seamlessClone(donor, target, 255 * inside, middle, cv2.NORMAL_CLONE)


def boundary_map(weights: np.ndarray) -> np.ndarray:
    """``4 w (1 - w)``: 1 where donor and target are mixed equally, 0 where one stands alone."""
    return 4 * weights * (1 - weights)
