"""The sensitivity map: how much every point matters to the decision, and which way along the surface."""

from __future__ import annotations

import torch
from torch import Tensor

from si_adv.attacks.base import Victim, attacked, gradient_of, model_output, split_clouds, whole_labels
from si_adv.geometry import estimate_normals, tangent_basis
from si_adv.losses import margin_loss

SCORE_FLOOR = -999.0
"""The published floor of the score of query attacks (best other minus true)."""

_MICRO_BATCH = 32


def sensitivity_map(
    model: Victim,
    clouds: Tensor,
    labels: Tensor,
    normals: Tensor | None = None,
    targeted: bool = False,
    top_k: int = 1,
) -> tuple[Tensor, Tensor]:
    """Length and direction of the tangent part of the gradient of the attack's score, point by point.

    With g the gradient of S = best other - true in tangent coordinates (see ``geometry.to_tangent``): sensitivity
    r = sqrt(g_x^2 + g_y^2), and direction (g_x, g_y, 0) / (r + 1e-16), the way that raises S; its world coordinates are
    U^T direction. Both are 0 at points without a normal, and, in networks that end in a max over the points, at most
    others.

    Args:
        model: differentiable (see ``attacks.base.Victim``).
        clouds: (B, N, 3), or (B, N, 6) with normals.
        labels: (B,) integers.
        normals: (B, N, 3), else those of the clouds, else estimated.

    Returns:
        Sensitivity (B, N) and direction (B, N, 3).
    """
    parts = []
    with torch.inference_mode(False), torch.enable_grad(), attacked(model):
        points, normals = split_clouds(clouds, normals)
        normals = estimate_normals(points) if normals is None else normals
        labels = whole_labels(labels, points)
        for part in torch.arange(len(points)).split(_MICRO_BATCH):
            part = slice(int(part[0]), int(part[-1]) + 1)
            gradient = score_gradient(model, points[part], labels[part], targeted, top_k)
            tangent = (tangent_basis(normals[part]) * gradient[..., None, :]).sum(-1)
            tangent[..., 2] = 0
            sensitivity = torch.linalg.vector_norm(tangent, dim=-1)
            parts.append((sensitivity, tangent / (sensitivity[..., None] + 1e-16)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def score_gradient(model: Victim, points: Tensor, labels: Tensor, targeted: bool = False, top_k: int = 1) -> Tensor:
    """Gradient (B, N, 3) of the score S that query attacks raise, at clouds (B, N, 3)."""
    points = points.detach().requires_grad_()
    score = margin_loss(model_output(model, points), labels, SCORE_FLOOR, targeted=not targeted, top_k=top_k)
    return gradient_of(score.sum(), points)
