"""Where k-space is sampled: spirals, radial lines, gridded masks, and the density of samples.

Trajectories are (N, P, 2): frame, sample, (ky, kx) in cycles/pixel within [-0.5, 0.5].
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from mrf_unroll.nufft import Nufft
from shared_utils import UserError

GOLDEN_ANGLE_DEG = 222.4922


def spiral(num_samples: int, turns: float, power: float = 1.2, kmax: float = 0.5) -> torch.Tensor:
    """(P, 2) one spiral-out interleaf: radius kmax t^power, angle 2 pi turns t, t from 0 to 1 (the last sample left out)."""
    t = torch.arange(num_samples, dtype=torch.float64) / num_samples
    radius, angle = kmax * t**power, 2 * math.pi * turns * t
    return torch.stack([radius * angle.sin(), radius * angle.cos()], dim=1).float()


def golden_angles(num_frames: int) -> torch.Tensor:
    """(N,) n times 222.4922 degrees, modulo 360."""
    return torch.remainder(torch.arange(num_frames, dtype=torch.float64) * GOLDEN_ANGLE_DEG, 360)


def rotate(interleaf: torch.Tensor, angles_deg: torch.Tensor) -> torch.Tensor:
    """(P, 2), (N,) -> (N, P, 2): the interleaf turned by each angle, from kx towards ky."""
    angles = torch.as_tensor(angles_deg, dtype=torch.float64).deg2rad()[:, None]
    ky, kx = interleaf.double().unbind(dim=1)
    return torch.stack([kx * angles.sin() + ky * angles.cos(), kx * angles.cos() - ky * angles.sin()], dim=2).float()


def golden_spiral(num_frames: int, num_samples: int, turns: float, power: float = 1.2) -> torch.Tensor:
    """(N, P, 2) one spiral interleaf a frame, turned by the golden angle."""
    return rotate(spiral(num_samples, turns, power), golden_angles(num_frames))


def radial(num_frames: int, num_samples: int) -> torch.Tensor:
    """(N, P, 2) one full line through the centre a frame, from -0.5 to below 0.5, turned by the golden angle."""
    line = torch.arange(num_samples, dtype=torch.float64) / num_samples - 0.5
    return rotate(torch.stack([torch.zeros_like(line), line], dim=1), golden_angles(num_frames))


def check_positions(trajectory: np.ndarray, source: str | Path) -> None:
    """Raise UserError, with what the values look like, where a position is not finite or lies beyond 0.5 cycles/pixel."""
    if not np.isfinite(trajectory).all():
        raise UserError(f"{source}: traj has values that are not finite: correct the file")
    largest = float(np.abs(trajectory).max(initial=0))
    if largest <= 0.5 + 1e-6:
        return
    if largest <= 0.7:
        fix = (
            f"the samples reach beyond the grid of the image: reconstruct {2 * largest:.3g} times as many pixels in the same"
            f" field of view (divide traj by {2 * largest:.4g}, multiply image_size by it), or leave those samples out"
        )
    elif largest <= 1.01:
        fix = "it looks scaled to 1: multiply traj by 0.5"
    elif largest <= math.pi * 1.01:
        fix = "it looks like radians, divide traj by 2 pi"
    else:
        fix = "divide traj by the image size (pixels)"
    raise UserError(f"{source}: |k| reaches {largest:.4g}, beyond 0.5 cycles/pixel: {fix}")


# Gridded masks ------------------------------------------------------------------------------------------------------------


def gridded_spiral_masks(
    size: int, num_samples: int = 771, num_frames: int = 200, step_deg: float = 7.5
) -> torch.Tensor:
    """(frames, size, size) bool, first index along cos, in FFT order: spirals rounded to the grid (QMRI-PnP).

    Angle theta = 8 t, radius 1.05^theta brought to [0, 1], t over [0, 2 pi]; each frame is turned by step_deg.
    """
    theta = 8 * torch.linspace(0, 2 * math.pi, num_samples, dtype=torch.float64)
    radius = 1.05**theta
    radius = (radius - radius.min()) / (radius.max() - radius.min())
    masks = torch.zeros(num_frames, size, size, dtype=torch.bool)
    for frame in range(num_frames):
        angle = theta + math.radians(step_deg) * frame
        along, across = (
            (_round_half_away(radius * turn * size / 2) + size // 2).clamp(0, size - 1).long()
            for turn in (angle.cos(), angle.sin())
        )
        masks[frame, along, across] = True
    return torch.fft.fftshift(masks, dim=(1, 2))


def mask_positions(masks: torch.Tensor) -> torch.Tensor:
    """(M,) 0-based positions of (frames, H, W) masks in the order of ``CartesianMaskOperator`` (frame, column, row)."""
    return torch.nonzero(masks.transpose(1, 2).reshape(-1))[:, 0]


def _round_half_away(value: torch.Tensor) -> torch.Tensor:
    return torch.sign(value) * torch.floor(value.abs() + 0.5)


# Density ------------------------------------------------------------------------------------------------------------------


def radial_dcf(trajectory: torch.Tensor, eps: float | None = None) -> torch.Tensor:
    """(N, P) weights |k| + eps, mean 1. eps: half the smallest radius above 0, so that the centre keeps a weight."""
    radius = torch.linalg.vector_norm(trajectory.double(), dim=-1)
    if eps is None:
        positive = radius[radius > 1e-9]
        eps = float(positive.min()) / 2 if len(positive) else 1.0
    return _mean_one(radius + eps)


def spiral_dcf(trajectory: torch.Tensor) -> torch.Tensor:
    """(N, P) weights of rotated spirals, mean 1: |k| d|k| / dt, the share of the ring that a sample stands for.

    Frames at many angles fill a ring of radius |k| evenly, so density falls with its area. The innermost sample gets the
    disc of half a step, and a resting read-out a thousandth of the mean progress.
    """
    radius = torch.linalg.vector_norm(trajectory.double(), dim=-1)
    progress = torch.gradient(radius, dim=1)[0].abs() if radius.shape[1] > 1 else torch.ones_like(radius)
    mean = float(progress.mean())
    return _mean_one((radius + progress / 4) * progress.clamp(min=1e-3 * mean)) if mean else torch.ones_like(radius)


def pipe_menon_dcf(trajectory: torch.Tensor, image_size: tuple[int, int], iterations: int = 20) -> torch.Tensor:
    """(N, P) weights for any trajectory, mean 1: w <- w / (C w) until C w = 1 (Pipe and Menon 1999).

    C spreads the samples to a grid by the gridding kernel and reads them there again.
    """
    transform = Nufft(trajectory.reshape(-1, 2), image_size, trajectory.device)
    weights = torch.ones(transform.num_points, dtype=torch.float64, device=trajectory.device)
    for _ in range(iterations):
        weights = weights / transform.smoothed(weights)
    return _mean_one(weights.reshape(trajectory.shape[:2]))


def _mean_one(weights: torch.Tensor) -> torch.Tensor:
    mean = float(weights.mean())
    return torch.ones_like(weights).float() if mean == 0 else (weights / mean).float()
