"""Errors of maps and time series inside a mask, pooled over its voxels, and data consistency."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NAMES = ("T1", "T2", "PD")


# What is summed over the voxels of a mask: enough for every error, and for pooling over slices.
_SUMS = ("count", "absolute", "square", "error", "truth_square", "relative", "relative_count")


def map_sums(maps: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Sums over masked voxels of all slices, (M, 7) float64, that add up over sets of slices (see ``errors_of_sums``)."""
    inside = mask.bool()
    rows = []
    for place in range(truth.shape[1]):
        true = truth[:, place][inside].double()
        error = maps[:, place][inside].double() - true
        known = true != 0
        relative = (error[known] / true[known]).abs().sum()
        sums = (error.abs().sum(), error.square().sum(), error.sum(), true.square().sum(), relative, known.sum())
        rows.append(torch.stack([true.new_tensor(float(true.numel())), *sums]))
    return torch.stack(rows)


# Bins of true T1 and T2, in s: fat and short T1, white matter, grey matter, between, fluid; short T2 to fluid's.
TISSUE_EDGES = ((0.0, 0.6, 1.0, 1.6, 2.6, float("inf")), (0.0, 0.06, 0.12, 0.3, float("inf")))


def tissue_sums(maps: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """``map_sums`` of the voxels in every bin of true T1 and T2 (``TISSUE_EDGES``): (T1 bins, T2 bins, M, 7)."""
    t1_edges, t2_edges = (truth.new_tensor(edges[1:-1]) for edges in TISSUE_EDGES)
    bins = [
        torch.bucketize(truth[:, place].contiguous(), edges, right=True)
        for place, edges in enumerate((t1_edges, t2_edges))
    ]
    shape = [len(edges) - 1 for edges in TISSUE_EDGES]
    sums = [
        map_sums(maps, truth, mask.bool() & (bins[0] == one) & (bins[1] == other))
        for one in range(shape[0])
        for other in range(shape[1])
    ]
    return torch.stack(sums).reshape(*shape, truth.shape[1], len(_SUMS))


def errors_of_sums(sums: Tensor, names: Sequence[str] = NAMES) -> dict[str, float]:
    """MAE, MAPE in percent, RMSE, NRMSE = |e|_2 / |truth|_2 and bias (mean of maps - truth): ``{"T1_MAE": ...}``."""
    errors: dict[str, float] = {}
    for name, row in zip(names, sums.tolist(), strict=True):
        own = dict(zip(_SUMS, row, strict=True))
        errors |= {
            f"{name}_MAE": own["absolute"] / own["count"],
            f"{name}_MAPE_percent": 100 * own["relative"] / max(own["relative_count"], 1),
            f"{name}_RMSE": (own["square"] / own["count"]) ** 0.5,
            f"{name}_NRMSE": (own["square"] / own["truth_square"]) ** 0.5,
            f"{name}_bias": own["error"] / own["count"],
        }
    return errors


def map_errors(maps: Tensor, truth: Tensor, mask: Tensor, names: Sequence[str] = NAMES) -> dict[str, float]:
    """MAE, MAPE in percent, RMSE, NRMSE and bias of every map, pooled over the masked voxels of all slices.

    MAPE leaves out voxels whose truth is zero.

    Args:
        maps, truth: (B, M, H, W), any unit (MAE, RMSE and bias have it).
        mask: (B, H, W) bool.
    """
    return errors_of_sums(map_sums(maps, truth, mask), names)


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
