"""Errors of maps and time series inside a mask, pooled over its voxels, and data consistency."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NAMES = ("T1", "T2", "PD")


def map_errors(maps: Tensor, truth: Tensor, mask: Tensor, names: Sequence[str] = NAMES) -> dict[str, float]:
    """MAE, MAPE in percent, RMSE, NRMSE = |e|_2 / |truth|_2 and bias (mean of maps - truth) of every map.

    maps, truth: (B, M, H, W), any unit (MAE, RMSE and bias have it). mask: (B, H, W) bool. All voxels of all slices are
    pooled; MAPE leaves out voxels whose truth is zero. Returns ``{"T1_MAE": ..., ...}``.
    """
    errors: dict[str, float] = {}
    inside = mask.bool()
    for place, name in enumerate(names):
        true = truth[:, place][inside].double()
        error = maps[:, place][inside].double() - true
        positive = true != 0
        errors |= {
            f"{name}_MAE": float(error.abs().mean()),
            f"{name}_MAPE_percent": float(100 * (error[positive] / true[positive]).abs().mean()),
            f"{name}_RMSE": float(error.square().mean().sqrt()),
            f"{name}_NRMSE": float(error.norm() / true.norm()),
            f"{name}_bias": float(error.mean()),
        }
    return errors


def slice_nrmse(maps: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """NRMSE of every slice and map, (B, M): what "mean +- standard deviation over slices" is taken of."""
    inside = mask.bool()[:, None]
    error = ((maps - truth) * inside).flatten(2).norm(dim=2)
    return error / (truth * inside).flatten(2).norm(dim=2).clamp_min(1e-12)


def tsmi_errors(tsmi: Tensor, truth: Tensor, mask: Tensor) -> dict[str, float]:
    """NRMSE and PSNR [dB] of time series (B, s, H, W) inside the mask; the peak is the largest magnitude inside it."""
    inside = mask.bool()[:, None].expand_as(truth)
    true = truth[inside]
    error = (tsmi[inside] - true).abs().double()
    true = true.abs().double()
    mse = error.square().mean()
    return {
        "TSMI_NRMSE": float(error.norm() / true.norm()),
        "TSMI_PSNR": float(10 * torch.log10(true.max().square() / mse)),
    }


def published_map_error(maps: Tensor, truth: Tensor) -> float:
    """The published test metric: mean over slices of |maps - truth| / |truth| over all three maps, unmasked.

    It is dominated by T1 and by the background; not a headline.
    """
    errors = (maps - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    return float(errors.double().mean())


def data_consistency(predicted: Tensor, measured: Tensor, weights: Tensor | None = None) -> Tensor:
    """|A x - y| / |y| of every item; predicted, measured: (B, ...) complex. weights: density weights, for |.|_W."""
    root = 1.0 if weights is None else weights.sqrt()
    return ((predicted - measured).abs() * root).flatten(1).norm(dim=1) / (measured.abs() * root).flatten(1).norm(dim=1)
