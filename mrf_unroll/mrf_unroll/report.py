"""What is reported of reconstructed maps: the object, statistics inside it, and errors where a truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from mrf_unroll.data.maps import read_maps
from mrf_unroll.data.slices import fit_to_size
from mrf_unroll.figures import WINDOWS
from mrf_unroll.metrics import NAMES, map_errors
from shared_utils import UserError

_MASK_LEVEL = 0.1
# From the networks' units to those of files: T1 and T2 in ms.
IN_MS = torch.tensor([1000.0, 1000.0, 1.0])[:, None, None]


def object_mask(density: Tensor) -> Tensor:
    """(H, W): PD above a tenth of its maximum (99.5th percentile), holes filled."""
    top = torch.quantile(density.flatten().float(), 0.995)
    return torch.from_numpy(binary_fill_holes((density > _MASK_LEVEL * top).numpy()))


def statistics(maps: Tensor, mask: Tensor) -> dict[str, dict[str, float]]:
    """Mean, standard deviation, median and 5th to 95th percentile of each map inside the mask; T1 and T2 in ms."""
    found: dict[str, dict[str, float]] = {"mask": {"voxels": int(mask.sum())}}
    for name, _, factor, *_ in WINDOWS:
        place = NAMES.index(name)
        values = factor * maps[place][mask].double().numpy()
        if not values.size:
            found[name] = {}
            continue
        low, middle, high = np.percentile(values, (5, 50, 95))
        numbers = {"mean": values.mean(), "std": values.std(), "p5": low, "median": middle, "p95": high}
        found[name] = {key: round(float(value), 5) for key, value in numbers.items()}
    return found


def errors_in_ms(maps: Tensor, truth: Tensor, mask: Tensor) -> dict[str, float]:
    """``map_errors`` of maps (3, H, W) in the networks' units, T1 and T2 in ms."""
    return map_errors((IN_MS * maps)[None], (IN_MS * truth)[None], mask[None])


def read_reference(path: str | Path, unit_t: str | None, image_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Maps (3, H, W) to compare with and their mask (H, W), brought to the size of a reconstruction."""
    stored = read_maps(path, unit_t)
    maps = np.stack([stored.t1_s[0], stored.t2_s[0], stored.pd[0]]).astype(np.float32)
    if tuple(stored.mask.shape[1:]) != tuple(image_size):
        if image_size[0] != image_size[1]:
            raise UserError(f"{path} has shape {stored.mask.shape[1:]}, the scan reconstructs {tuple(image_size)}")
        maps, mask, _ = fit_to_size(maps, stored.mask[0], np.zeros_like(maps[0]), image_size[0], resample=True)
    else:
        mask = stored.mask[0]
    if not mask.any():
        raise UserError(f"{path}: the mask has no voxel")
    return torch.from_numpy(maps * mask), torch.from_numpy(mask)
