"""Geometry of point clouds: neighbours, normals, sampling, and the reversible tangent frame of the attack.

All functions take batches, work on the device of their input, and treat every cloud on its own: the result for a cloud
does not depend on the batch it is in. Neighbour searches have three backends:

- ``scipy``: a k-d tree a cloud; on the CPU by far the fastest in three dimensions.
- ``torch``: exact differences, in chunks of bounded memory; any device.
- ``pytorch3d``: its CUDA kernel; optional, never required.
- ``auto``: ``scipy`` on the CPU; elsewhere ``pytorch3d`` where it is importable, else ``torch``.
"""

from __future__ import annotations

import importlib.util
import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError

Backend = Literal["auto", "torch", "scipy", "pytorch3d"]
FPSStart = Literal["first", "random", "far"]

# Entries of the largest distance block held at once by the brute-force search (times four bytes, times about three).
_CHUNK_ENTRIES = 2**24
# Groups of columns of the two-stage selection of neighbours: near the optimum sqrt(k N) of k = 20, N = 1024.
_GROUPS = 128
# |z^2 - 1| below which a normal counts as a pole and the frame takes its first axis from (1, -1, 0).
_POLE = 1e-4


def _check_points(name: str, points: Tensor) -> None:
    if points.dim() != 3 or points.shape[-1] != 3:
        raise ValueError(f"{name} must have shape (B, N, 3), got {tuple(points.shape)}")


@cache
def _has_pytorch3d() -> bool:
    return importlib.util.find_spec("pytorch3d") is not None


def _choose_backend(backend: str, device: torch.device) -> str:
    if backend == "auto":
        if device.type == "cpu":
            return "torch" if torch.compiler.is_compiling() else "scipy"  # a traced graph cannot hold a tree
        return "pytorch3d" if device.type == "cuda" and _has_pytorch3d() else "torch"
    if backend not in ("torch", "scipy", "pytorch3d"):
        raise UserError(f"unknown geometry backend {backend!r}: choose auto, torch, scipy or pytorch3d")
    if backend == "pytorch3d" and not _has_pytorch3d():
        raise UserError("backend 'pytorch3d' was asked for and pytorch3d is not installed: install it or use 'auto'")
    return backend


# Neighbours ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def knn(query: Tensor, reference: Tensor, k: int, backend: Backend = "auto") -> tuple[Tensor, Tensor]:
    """The k nearest reference points of every query point, nearest first (a point is its own nearest neighbour).

    Distances come from differences, never from |a|^2 + |b|^2 - 2ab, so a cloud against itself gives exact zeros. Among
    points at equal distance the choice is arbitrary.

    Args:
        query: (B, M, 3).
        reference: (B, N, 3).
        k: number of neighbours.
        backend: see the module.

    Returns:
        Squared distances (B, M, k), detached, and indices (B, M, k) int64.

    Raises:
        ValueError: other shapes, k outside 1..N and, with scipy, points that are not finite.
    """
    _check_points("query", query)
    _check_points("reference", reference)
    if len(query) != len(reference):
        raise ValueError(f"query and reference hold {len(query)} and {len(reference)} clouds; they must be paired")
    if not 1 <= k <= reference.shape[1]:
        raise ValueError(f"k must lie in 1..{reference.shape[1]} (the reference points of a cloud), got {k}")
    search = {"torch": _knn_torch, "scipy": _knn_scipy, "pytorch3d": _knn_pytorch3d}
    return search[_choose_backend(backend, query.device)](query, reference, k)


def _knn_scipy(query: Tensor, reference: Tensor, k: int) -> tuple[Tensor, Tensor]:
    from scipy.spatial import KDTree

    batch, num_query, _ = query.shape
    distances = torch.empty(batch, num_query, k, dtype=torch.float64)
    indices = torch.empty(batch, num_query, k, dtype=torch.int64)
    queries, references = query.detach().cpu().numpy(), reference.detach().cpu().numpy()

    def search(item: int) -> None:
        # Neither balancing nor compacting pays for a tree that is asked once.
        tree = KDTree(references[item], balanced_tree=False, compact_nodes=False)
        distance, index = tree.query(queries[item], k)
        distances[item] = torch.from_numpy(distance).view(num_query, k)
        indices[item] = torch.from_numpy(index).view(num_query, k)

    workers = min(batch, torch.get_num_threads())
    if workers > 1:  # the tree releases the GIL
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(search, range(batch)))
    else:
        for item in range(batch):
            search(item)
    return distances.square_().to(query), indices.to(query.device)


def _knn_torch(query: Tensor, reference: Tensor, k: int) -> tuple[Tensor, Tensor]:
    batch = len(query)
    rows = max(1, _CHUNK_ENTRIES // max(1, batch * reference.shape[1]))
    nearest = [
        pairwise_squared_distances(part, reference).topk(k, dim=-1, largest=False) for part in query.split(rows, dim=1)
    ]
    if not nearest:
        return query.new_empty(batch, 0, k), torch.empty(batch, 0, k, dtype=torch.int64, device=query.device)
    return torch.cat([part.values for part in nearest], 1), torch.cat([part.indices for part in nearest], 1)


def _knn_pytorch3d(query: Tensor, reference: Tensor, k: int) -> tuple[Tensor, Tensor]:
    from pytorch3d.ops import knn_points

    distances, indices, _ = knn_points(query.contiguous(), reference.contiguous(), K=k, return_sorted=True)
    return distances, indices


def pairwise_squared_distances(query: Tensor, reference: Tensor) -> Tensor:
    """Squared distances of all pairs from coordinate differences: (B, M, 3), (B, N, 3) -> (B, M, N); differentiable."""
    # Rows of one coordinate must be contiguous: twenty times faster on the CPU than strided ones.
    query, reference = query.transpose(1, 2).contiguous(), reference.transpose(1, 2).contiguous()
    total = (query[:, 0, :, None] - reference[:, 0, None]).square_()
    for axis in range(1, query.shape[1]):
        difference = query[:, axis, :, None] - reference[:, axis, None]
        total.addcmul_(difference, difference)
    return total


@torch.no_grad()
def knn_features(x: Tensor, k: int) -> Tensor:
    """The graph of the victims: the k nearest points of every point in feature space, nearest first.

    Distances are expanded into products, as in the published victims: in high dimensions that is a matrix product. The
    squared norm of the point itself shifts its whole row and is left out.

    Args:
        x: (B, C, N).
        k: number of neighbours.

    Returns:
        Indices (B, N, k).
    """
    if not 1 <= k <= x.shape[-1]:
        raise ValueError(f"a graph of {k} neighbours needs clouds of at least {k} points, got {x.shape[-1]}")
    closeness = torch.baddbmm(x.square().sum(1, keepdim=True), x.transpose(1, 2), x, beta=-1, alpha=2)
    return _top_k(closeness, k)


def _top_k(scores: Tensor, k: int) -> Tensor:
    """Indices of the k largest of every row, largest first: (B, M, N) -> (B, M, k).

    The k largest lie in the k groups of columns with the largest maxima, so most columns never enter a selection: on
    the CPU a third of the time of ``topk`` at N = 1024. Groups are columns a fixed stride apart, which makes their
    maxima vector operations.
    """
    batch, num_rows, num_columns = scores.shape
    if num_columns % _GROUPS or num_columns < 4 * _GROUPS or k > _GROUPS // 2:
        return scores.topk(k, dim=-1).indices
    grouped = scores.view(batch, num_rows, num_columns // _GROUPS, _GROUPS)
    groups = grouped.amax(2).topk(k, dim=-1, sorted=False).indices
    members = groups[:, :, None] + torch.arange(0, num_columns, _GROUPS, device=scores.device)[:, None]
    members = members.flatten(2)
    best = scores.gather(2, members).topk(k, dim=-1).indices
    return members.gather(2, best)


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """Rows of a cloud by index: values (B, N, C), indices (B, ...) int64 -> (B, ..., C), differentiable in values."""
    batch, num_points, channels = values.shape
    if len(indices) != batch:
        raise ValueError(f"values and indices hold {batch} and {len(indices)} clouds; they must be paired")
    offset = torch.arange(batch, device=indices.device).view(-1, *[1] * (indices.dim() - 1)) * num_points
    flat = (indices + offset).reshape(-1)
    # index_select has a much faster backward on the CPU than advanced indexing.
    return values.reshape(batch * num_points, channels).index_select(0, flat).view(*indices.shape, channels)


@torch.no_grad()
def ball_query(points: Tensor, centres: Tensor, radius: float, num_samples: int) -> Tensor:
    """The first ``num_samples`` points by index within ``radius`` of every centre, padded with the first of them.

    Args:
        points: (B, N, 3).
        centres: (B, S, 3).

    Returns:
        Indices (B, S, num_samples); a ball without any point gets index 0.
    """
    _check_points("points", points)
    _check_points("centres", centres)
    inside = pairwise_squared_distances(centres, points) <= radius**2
    counts = inside.sum(-1, keepdim=True)
    starts = counts.flatten().cumsum(0).view_as(counts) - counts
    rank = torch.arange(num_samples, device=points.device)
    # The members of all balls in a row, and one more entry for an empty last ball to start at.
    members = torch.cat((inside.nonzero()[:, 2], rank.new_zeros(1)))
    indices = members[starts + torch.where(rank < counts, rank, 0)]
    return torch.where(counts > 0, indices, 0)


@torch.no_grad()
def farthest_point_sampling(points: Tensor, num_samples: int, start: FPSStart = "first") -> Tensor:
    """Points chosen one by one, each the farthest from those chosen so far.

    Args:
        points: (B, N, 3).
        num_samples: number of points; when more are asked for than there are, the rest repeat index 0.
        start: the point of index 0 (``first``, deterministic), one drawn from torch's generator (``random``, as the
            published victims do even in evaluation), or the farthest from the centroid (``far``).

    Returns:
        Indices (B, num_samples).
    """
    _check_points("points", points)
    batch, num_points, _ = points.shape
    if start == "first":
        farthest = torch.zeros(batch, 1, dtype=torch.int64, device=points.device)
    elif start == "random":
        farthest = torch.randint(num_points, (batch, 1), device=points.device)
    elif start == "far":
        from_centroid = points - points.mean(1, keepdim=True)
        farthest = from_centroid.square().sum(-1).argmax(-1, keepdim=True)
    else:
        raise UserError(f"unknown start {start!r} of farthest point sampling: choose first, random or far")
    traced = torch.compiler.is_compiling()
    search = _fps_numpy if points.device.type == "cpu" and not traced else _fps_torch
    return search(points.detach(), farthest, num_samples)


def _fps_numpy(points: Tensor, first: Tensor, num_samples: int) -> Tensor:
    # Thousands of steps on a few kilobytes: numpy's calls cost a fraction of torch's.
    indices = np.empty((len(points), num_samples), dtype=np.int64)
    for cloud, chosen, farthest in zip(points.numpy(), indices, first[:, 0].tolist(), strict=True):
        axes = np.ascontiguousarray(cloud.T)
        difference, distance = np.empty_like(axes), np.full_like(axes[0], np.inf)
        for sample in range(num_samples):
            chosen[sample] = farthest
            np.subtract(axes, axes[:, farthest, None], out=difference)
            np.multiply(difference, difference, out=difference)
            squared = difference[0]
            squared += difference[1]
            squared += difference[2]
            np.minimum(distance, squared, out=distance)
            farthest = distance.argmax()
    return torch.from_numpy(indices)


def _fps_torch(points: Tensor, first: Tensor, num_samples: int) -> Tensor:
    axes = points.transpose(1, 2).contiguous()
    distance = points.new_full(points.shape[:2], math.inf)
    indices = first.new_empty(len(points), num_samples)
    farthest = first
    for sample in range(num_samples):
        indices[:, sample : sample + 1] = farthest
        squared = (axes - axes.gather(2, farthest[:, None].expand(-1, 3, -1))).square_()
        torch.minimum(distance, squared[:, 0] + squared[:, 1] + squared[:, 2], out=distance)
        farthest = distance.argmax(-1, keepdim=True)
    return indices


# Normals -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def estimate_normals(points: Tensor, k: int = 20, backend: Backend = "auto") -> Tensor:
    """Unit normals by principal components: the least direction of a point's k nearest points, itself one.

    Computed in float64, for the smallest eigenvector of a flat neighbourhood is lost in the rounding of float32.

    Args:
        points: (B, N, 3).
        k: number of neighbours.

    Returns:
        (B, N, 3), of arbitrary sign; zero where the neighbourhood does not define a normal: where its points lie on one
        line, which includes fewer than three distinct points.
    """
    _check_points("points", points)
    _, indices = knn(points, points, min(k, points.shape[1]), backend)
    neighbours = gather(points.detach().double(), indices)
    centred = (neighbours - neighbours.mean(2, keepdim=True)).flatten(0, 1)
    covariance = centred.transpose(1, 2) @ centred
    return _smallest_eigenvector(covariance).view_as(points).to(points.dtype)


def _smallest_eigenvector(matrices: Tensor) -> Tensor:
    """Unit eigenvector of the smallest eigenvalue: symmetric positive (n, 3, 3) float64 -> (n, 3); zero if rank < 2.

    Eigenvalue in closed form (Smith 1961), then the longest cross product of two rows of A - lambda I. Where the two
    smallest eigenvalues nearly coincide all three products vanish, and ``torch.linalg.eigh`` decides.
    """
    scale = matrices.diagonal(dim1=1, dim2=2).sum(-1)
    matrices = matrices / scale.clamp_min(torch.finfo(scale.dtype).tiny)[:, None, None]
    a00, a11, a22 = matrices.diagonal(dim1=1, dim2=2).unbind(-1)
    a01, a02, a12 = matrices[:, 0, 1], matrices[:, 0, 2], matrices[:, 1, 2]
    mean = (a00 + a11 + a22) / 3
    d0, d1, d2 = a00 - mean, a11 - mean, a22 - mean
    spread = ((d0 * d0 + d1 * d1 + d2 * d2 + 2 * (a01 * a01 + a02 * a02 + a12 * a12)) / 6).sqrt()
    determinant = d0 * (d1 * d2 - a12 * a12) - a01 * (a01 * d2 - a12 * a02) + a02 * (a01 * a12 - d1 * a02)
    cosine = determinant / (2 * spread**3).clamp_min(torch.finfo(scale.dtype).tiny)
    angle = cosine.clamp(-1, 1).acos() / 3
    smallest = mean + 2 * spread * (angle + 2 * math.pi / 3).cos()

    row0 = torch.stack((a00 - smallest, a01, a02), -1)
    row1 = torch.stack((a01, a11 - smallest, a12), -1)
    row2 = torch.stack((a02, a12, a22 - smallest), -1)
    products = torch.stack(
        (torch.linalg.cross(row0, row1), torch.linalg.cross(row0, row2), torch.linalg.cross(row1, row2)), 1
    )
    lengths = products.square().sum(-1)
    length, longest = lengths.max(-1)
    vectors = products.gather(1, longest[:, None, None].expand(-1, 1, 3))[:, 0]
    vectors = vectors / length.sqrt().clamp_min(torch.finfo(scale.dtype).tiny)[:, None]

    # The length is about (l1 - l3)(l2 - l3) of a matrix of trace one; at 1e-8 the vector still has eight digits.
    degenerate = (length <= 1e-16).nonzero()[:, 0]
    if len(degenerate):
        values, bases = torch.linalg.eigh(matrices[degenerate])
        # Points of a line stored in float32 give a second eigenvalue of up to about (1e-5)^2 of the first.
        defined = values[:, 1] > 1e-10 * values[:, 2].clamp_min(torch.finfo(scale.dtype).tiny)
        vectors[degenerate] = bases[:, :, 0] * defined[:, None]
    return vectors


# The reversible tangent frame: the paper's coordinate transform -----------------------------------------------------


def _unit(vectors: Tensor) -> Tensor:
    return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(1e-12)


def tangent_basis(normals: Tensor) -> Tensor:
    """Orthonormal frames whose third axis is the normal: (..., 3) -> (..., 3, 3), rows u0, u1, n.

    With n = (x, y, z) and d = sqrt(x^2 + y^2): u0 = (y, -x, 0)/d, u1 = n x u0 = (xz/d, yz/d, -d). Where
    |z^2 - 1| < 1e-4 the first axis is instead (1, -1, 0) made orthogonal to n; at the poles themselves that is the
    published u0 = (1, -1, 0)/sqrt2, u1 = (z, z, 0)/sqrt2. A normal and its negative span the same plane.
    Normals are brought to length one; a zero normal gives a zero frame, and one that is not finite a frame of NaN.
    """
    if normals.shape[-1:] != (3,):
        raise ValueError(f"normals must have shape (..., 3), got {tuple(normals.shape)}")
    normals = _unit(normals)
    x, y, z = normals.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    pole = ((z * z - 1).abs() < _POLE)[..., None]
    from_axis = torch.stack((one, -one, zero), -1) - (x - y)[..., None] * normals
    first = _unit(torch.where(pole, from_axis, torch.stack((y, -x, zero), -1)))
    return torch.stack((first, torch.linalg.cross(normals, first), normals), -2)


def to_tangent(points: Tensor, normals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points in the frames of their normals: q = U (p + t) with t = (p . n) n held constant, so q_z = 2 p . n.

    The gradient flows through p alone, not through t; ``from_tangent`` undoes it exactly.

    Args:
        points: (..., 3).
        normals: (..., 3), unit or zero.

    Returns:
        Transformed points (..., 3), basis U (..., 3, 3) and translation t (..., 3).
    """
    basis = tangent_basis(normals)
    normals = basis[..., 2, :]
    translation = ((points * normals).sum(-1, keepdim=True) * normals).detach()
    return _apply(basis, points + translation), basis, translation


def from_tangent(transformed: Tensor, basis: Tensor, translation: Tensor) -> Tensor:
    """Inverse of ``to_tangent``: p = U^T q - t. transformed, translation: (..., 3); basis: (..., 3, 3)."""
    return _apply(basis.transpose(-1, -2), transformed) - translation


def project_to_tangent(vectors: Tensor, normals: Tensor) -> Tensor:
    """The part of every vector in the tangent plane, (I - n n^T) v: (..., 3), (..., 3) -> (..., 3).

    Equals the round trip through the frame with the third coordinate set to zero. A zero normal leaves its vector.
    """
    normals = _unit(normals)
    return vectors - (vectors * normals).sum(-1, keepdim=True) * normals


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices * vectors[..., None, :]).sum(-1)
