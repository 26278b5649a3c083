"""What the attacks descend on: losses on the victim's output, distances to the clean cloud, and projections.

Losses return one value a cloud, never a mean over the batch: what a cloud feels must not depend on its neighbours in
the batch. Clouds are (B, N, 3); neighbours are looked up without a gradient, distances to them have one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from si_adv.geometry import gather, knn

# Losses on the output of the victim ----------------------------------------------------------------------------------


def output_margin(output: Tensor, labels: Tensor, top_k: int = 1) -> Tensor:
    """How far the label is ahead: its output minus the ``top_k``-th best of the other classes.

    Args:
        output: (B, C), logits or log-probabilities (the same value: the shift of a sample cancels).
        labels: (B,) int64.
        top_k: 1 for the best of the others.

    Returns:
        (B,); negative where the label is not among the ``top_k`` best.
    """
    if not 1 <= top_k < output.shape[1]:
        raise ValueError(f"top_k must lie in 1..{output.shape[1] - 1} for {output.shape[1]} classes, got {top_k}")
    true = output.gather(1, labels[:, None])
    others = output.scatter(1, labels[:, None], -torch.inf)
    other = others.amax(1) if top_k == 1 else others.topk(top_k, dim=1).values[:, -1]
    return true[:, 0] - other


def margin_loss(
    output: Tensor,
    labels: Tensor,
    floor: float = 0.0,
    confidence: float = 0.0,
    targeted: bool = False,
    top_k: int = 1,
) -> Tensor:
    """The attack loss to descend: ``max(margin + confidence, floor)``, (B,).

    The margin is label minus best other, and its negative when ``targeted`` (the label is then the class to reach).
    ``floor`` bounds the loss from below, as the published kappa does: once the margin is under it the gradient is zero
    and the cloud stops. ``confidence`` is the margin added by Carlini and Wagner. ``top_k=5``: fifth best other.
    """
    margin = output_margin(output, labels, top_k)
    return ((-margin if targeted else margin) + confidence).clamp_min(floor)


def cross_entropy_loss(output: Tensor, labels: Tensor, targeted: bool = False) -> Tensor:
    """Cross entropy to descend, (B,): towards the label when ``targeted``, away from it otherwise."""
    loss = F.cross_entropy(output, labels, reduction="none")
    return loss if targeted else -loss


# Distances and shape terms -------------------------------------------------------------------------------------------


def l2_distance(points: Tensor, reference: Tensor) -> Tensor:
    """Euclidean length of the whole displacement: (B, N, 3), (B, N, 3) -> (B,)."""
    # The floor keeps the gradient of the root finite where the clouds coincide.
    return (points - reference).square().sum((1, 2)).clamp_min(1e-30).sqrt()


def nearest_squared_distances(points: Tensor, reference: Tensor) -> Tensor:
    """Squared distance of every point to the nearest reference point, (B, N, 3), (B, M, 3) -> (B, N)."""
    _, indices = knn(points, reference, 1)
    return (points - gather(reference, indices[..., 0])).square().sum(-1)


def chamfer_distance(points: Tensor, reference: Tensor) -> Tensor:
    """Mean squared distance to the nearest point of the other cloud, both directions added: (B, N, 3), (B, M, 3) -> (B,)."""
    return nearest_squared_distances(points, reference).mean(1) + nearest_squared_distances(reference, points).mean(1)


def neighbour_distance(points: Tensor, k: int = 5) -> Tensor:
    """Mean squared distance of every point to its k nearest others, (B, N, 3) -> (B, N)."""
    _, indices = knn(points, points, k + 1)
    return (gather(points, indices[..., 1:]) - points[:, :, None]).square().sum(-1).mean(-1)


def knn_distance(points: Tensor, k: int = 5, alpha: float = 1.05) -> Tensor:
    """Penalty on straying points (Tsai et al., AAAI 2020), (B,).

    Mean over the cloud of the squared distance to the k nearest others, counted only where it exceeds mean + alpha *
    standard deviation of the cloud; the threshold has no gradient.
    """
    distances = neighbour_distance(points, k)
    threshold = (distances.mean(1) + alpha * distances.std(1)).detach()
    return torch.where(distances > threshold[:, None], distances, 0).mean(1)


def farthest_distance(clusters: Tensor) -> Tensor:
    """Sum over clusters of the largest distance between two of its points (Xiang et al., CVPR 2019).

    Args:
        clusters: (B, G, P, 3), G clusters of P points.

    Returns:
        (B,).
    """
    # The offset of the published loss: it keeps the square root differentiable at the diagonal.
    differences = clusters[:, :, None] - clusters[:, :, :, None] + 1e-7
    return torch.linalg.vector_norm(differences, dim=-1).amax((2, 3)).sum(1)


def local_curvature(points: Tensor, normals: Tensor, k: int = 16) -> Tensor:
    """GeoA3's curvature: mean |cosine| between a point's normal and the directions to its k nearest others.

    Args:
        points: (B, N, 3).
        normals: (B, N, 3), unit normals of either sign.
        k: number of neighbours.

    Returns:
        (B, N) in 0..1.
    """
    _, indices = knn(points, points, k + 1)
    return curvature_from_neighbours(points, normals, indices)


def curvature_from_neighbours(points: Tensor, normals: Tensor, indices: Tensor) -> Tensor:
    """``local_curvature`` where the neighbours (B, N, k + 1), the point itself first, are already known."""
    directions = gather(points, indices[..., 1:]) - points[:, :, None]
    # A duplicate has no direction: it counts as lying in the plane.
    lengths = directions.square().sum(-1).clamp_min(1e-24).sqrt()
    return ((directions * normals[:, :, None]).sum(-1).abs() / lengths).mean(-1)


def curvature_consistency(
    points: Tensor, clean: Tensor, clean_normals: Tensor, clean_curvature: Tensor, k: int = 16
) -> Tensor:
    """Mean squared change of local curvature against the nearest clean point, whose normal is used (GeoA3), (B,)."""
    _, nearest = knn(points, clean, 1)
    curvature = local_curvature(points, gather(clean_normals, nearest[..., 0]), k)
    return (curvature - gather(clean_curvature[..., None], nearest)[..., 0, 0]).square().mean(1)


# Projections ---------------------------------------------------------------------------------------------------------


def clip_linf(points: Tensor, centre: Tensor, eps: float) -> Tensor:
    """Points brought back into the box of half-width eps, per coordinate, around those of ``centre``."""
    return centre + (points - centre).clamp(-eps, eps)


def clip_l2(points: Tensor, centre: Tensor, eps: float) -> Tensor:
    """Clouds (B, N, 3) brought back into the ball of radius eps around ``centre``; distance over the whole cloud."""
    difference = points - centre
    length = torch.linalg.vector_norm(difference, dim=(1, 2), keepdim=True)
    return centre + difference * (eps / (length + 1e-9)).clamp_max(1)


def project_inner(points: Tensor, clean: Tensor, normals: Tensor) -> Tensor:
    """Points that moved inwards keep only the tangent part of their motion; (B, N, 3) each, outward normals."""
    difference = points - clean
    inward = (difference * normals).sum(-1, keepdim=True).clamp_max(0)
    return clean + difference - inward * normals


def project_inner_published(points: Tensor, clean: Tensor, normals: Tensor) -> Tensor:
    """``project_inner`` as published: inward motion is multiplied, per coordinate, with its unit tangent direction.

    That is not a projection (the result may leave the tangent plane); kept for comparison with published numbers.
    """
    difference = points - clean
    across = torch.linalg.cross(normals, difference)
    tangent = torch.linalg.cross(across, normals)
    scaled = difference * tangent / (torch.linalg.vector_norm(tangent, dim=-1, keepdim=True) + 1e-9)
    opposite = torch.linalg.vector_norm(across, dim=-1, keepdim=True) < 1e-6
    inner = (difference * normals).sum(-1, keepdim=True) < 0
    return clean + torch.where(inner, torch.where(opposite, 0, scaled), difference)
