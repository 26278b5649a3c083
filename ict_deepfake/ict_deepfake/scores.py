"""Scores of a face: consistency (ICT), consistency with a reference set (ICT-Ref), distance to a claimed person.

Every score is a squared Euclidean distance or a weighted sum of them; **larger means fake**. None is a probability.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from shared_utils import UserError

# Faces and references that are compared at once: their distances take 64 MB.
_ROWS, _CHUNK = 256, 65536
# Rounding of a squared distance that was made by a matrix product of rows of length one or less.
_SLACK = 1e-5


class ReferenceScores(NamedTuple):
    """ICT-Ref of n faces, with everything that it is made of. i is the inner match, o the outer match of a face.

    score: (n,) w1 d1 + w2 d2 + w3 d3, about 0..8.
    d1: (n,) inner to outer face. d2: outer face to R_out[i]. d3: inner face to R_in[o].
    w1, w2, w3: (n,) their weights; w1 = 2 - w2 - w3.
    inner_match, outer_match: (n, k) rows of the set, the nearest first.
    inner_of_inner_match, outer_of_inner_match, inner_of_outer_match, outer_of_outer_match: (n, dim) R_in[i], R_out[i],
        R_in[o], R_out[o], mean over the k rows.
    """

    score: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor
    w1: Tensor
    w2: Tensor
    w3: Tensor
    inner_match: Tensor
    outer_match: Tensor
    inner_of_inner_match: Tensor
    outer_of_inner_match: Tensor
    inner_of_outer_match: Tensor
    outer_of_outer_match: Tensor


def _squared(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).square().sum(-1)


def consistency(inner: Tensor, outer: Tensor) -> Tensor:
    """ICT: D = ||f_in - f_out||^2, 0..4 for unit rows.

    Args:
        inner, outer: (n, dim) unit rows.

    Returns:
        (n,); larger means fake.
    """
    return _squared(inner, outer)


def pairwise(rows: Tensor, references: Tensor) -> Tensor:
    """Squared distances of rows (n, dim) to references (m, dim) by one matrix product: (n, m), off by some 1e-6."""
    own = rows.square().sum(1, keepdim=True)
    return (own + references.square().sum(1) - 2 * rows @ references.t()).clamp(min=0)


def nearest(rows: Tensor, references: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k nearest references of each row by exact Euclidean search; of equally near ones the first.

    Args:
        rows: (n, dim).
        references: (m, dim), any length; searched in blocks.
        k: at most m.

    Returns:
        Indices (n, k), the nearest first, and squared distances (n, k) float64.

    Raises:
        UserError: fewer than k references, or of another length; rows that are not finite.
    """
    if rows.shape[1] != references.shape[1]:
        raise UserError(
            f"references of length {references.shape[1]} cannot be compared with embeddings of length {rows.shape[1]}: "
            "build the reference set with this model"
        )
    if not 1 <= k <= len(references):
        raise UserError(
            f"{k} nearest of {len(references)} references cannot be taken: choose k within 1..{len(references)}"
        )
    if not torch.isfinite(rows).all():
        raise UserError("embeddings that are not finite have no nearest reference: the model's weights are damaged")
    indices, distances = [], []
    for part in rows.split(_ROWS):
        found = [
            (index + start, distance)
            for start in range(0, len(references), _CHUNK)
            for index, distance in [_candidates(part, references[start : start + _CHUNK], k)]
        ]
        index, distance = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        # Blocks stand in the order of the references, so that a stable sort keeps the first of equals.
        order = distance.argsort(dim=1, stable=True)[:, :k]
        indices.append(index.gather(1, order))
        distances.append(distance.gather(1, order))
    if not indices:
        return torch.zeros(0, k, dtype=torch.long), torch.zeros(0, k, dtype=torch.float64)
    return torch.cat(indices), torch.cat(distances)


def _candidates(rows: Tensor, references: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The min(k, m) nearest of one block: chosen by the matrix product with some slack, then measured in float64."""
    k = min(k, len(references))
    squared = pairwise(rows, references)
    limit = squared.topk(k, largest=False).values[:, -1:] + _SLACK
    row, column = (squared <= limit).nonzero(as_tuple=True)
    exact = (rows[row].double() - references[column].double()).square().sum(1)
    order = exact.argsort(stable=True)
    order = order[row[order].argsort(stable=True)]
    row, column, exact = row[order], column[order], exact[order]
    # Sorted by row, distance and column: the first k of each row.
    counts = torch.bincount(row, minlength=len(rows))
    first = (counts.cumsum(0) - counts)[row]
    kept = torch.arange(len(row)) - first < k
    return column[kept].reshape(-1, k), exact[kept].reshape(-1, k)


def reference_scores(
    inner: Tensor,
    outer: Tensor,
    reference_inner: Tensor,
    reference_outer: Tensor,
    k: int = 1,
    amplitude: float = 0.75,
    centre: float = 0.5,
    width: float = 0.5,
) -> ReferenceScores:
    """ICT-Ref: the face compared with the references that its inner and its outer face look like.

    A match at squared distance d has the weight amplitude / (1 + exp((d - centre) / width)): a confident match moves
    weight from the face's own inconsistency to the comparison with the person that it looks like.

    Args:
        inner, outer: (n, dim) unit rows of the faces.
        reference_inner, reference_outer: (m, dim), row by row of the same genuine picture.
        k: how many nearest rows are averaged (not normalised again).
        amplitude, centre, width: of the weights.

    Raises:
        UserError: references of another length, of different counts, or fewer than k.
    """
    if reference_inner.shape != reference_outer.shape:
        raise UserError(
            f"{len(reference_inner)} inner and {len(reference_outer)} outer references: they have to be rows of the "
            "same pictures"
        )
    i, _ = nearest(inner, reference_inner, k)
    o, _ = nearest(outer, reference_outer, k)
    inner_i, outer_i = reference_inner[i].mean(1), reference_outer[i].mean(1)
    inner_o, outer_o = reference_inner[o].mean(1), reference_outer[o].mean(1)

    def weight(squared: Tensor) -> Tensor:
        return amplitude * torch.sigmoid((centre - squared) / width)

    d1, d2, d3 = _squared(inner, outer), _squared(outer, outer_i), _squared(inner, inner_o)
    w2, w3 = weight(_squared(inner, inner_i)), weight(_squared(outer, outer_o))
    w1 = 2 - w2 - w3
    score = w1 * d1 + w2 * d2 + w3 * d3
    return ReferenceScores(score, d1, d2, d3, w1, w2, w3, i, o, inner_i, outer_i, inner_o, outer_o)


def claim(inner: Tensor, rows: Tensor) -> Tensor:
    """The distance of an inner face to the person that it is claimed to be: min over the rows of ||f_in - R_in||^2.

    Args:
        inner: (n, dim) unit rows.
        rows: (k, dim) inner references of the claimed person.

    Returns:
        (n,); larger means that it is somebody else.
    """
    match, _ = nearest(inner, rows)
    return _squared(inner, rows[match[:, 0]])
