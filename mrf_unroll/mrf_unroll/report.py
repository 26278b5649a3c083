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


# Shares of a scan and of its time series. Procedural heads with 1 to 10 % noise stay below 0.21; trajectories of half the
# scale, frames in another order, another schedule and noise without an object are above 0.35 in one of the two.
_DOUBTFUL, _CONTRADICTED = 0.2, 0.3
# Share of the centre of k-space. Randomised slices with 1 to 10 % noise stay below 0.002; a missing inversion is above
# 0.015, flip angles that are wrong by 3 % above 0.04.
_OTHER_SCHEDULE = 0.007


def fingerprint_residual(series: Tensor, atoms: Tensor) -> float:
    """What share of time series (s, H, W) no tissue has: |x - best atom| / |x| over voxels of more than 0.3 of the largest norm.

    Where the forward model is wrong, a low-rank reconstruction still fits the samples, but by series that no tissue makes.

    Args:
        atoms: (K, s).
    """
    voxels = series.flatten(1).T.cpu()
    energy = voxels.abs().square().sum(dim=1)
    strong = energy > 0.09 * energy.max()
    voxels, energy = voxels[strong], energy[strong]
    unit = (atoms / atoms.abs().square().sum(dim=1, keepdim=True).sqrt()).cpu().to(voxels)
    best = torch.cat([(part @ unit.conj().T).abs().amax(dim=1) for part in voxels.split(4096)])
    return float((1 - best.square().sum() / energy.sum()).clamp_min(0).sqrt())


def verdict(misfit: float, residual: float, outside: float | None) -> str:
    """In words, whether the maps explain the scan.

    Args:
        misfit: |Ax-y|/|y|.
        residual: of ``fingerprint_residual``.
        outside: of ``schedule_residual``.
    """
    worst = max(misfit, residual)
    left = f"{100 * misfit:.0f} % of the samples and {100 * residual:.0f} % of the time series are left over"
    schedule = "" if outside is None or outside <= _OTHER_SCHEDULE else _schedule_words(outside)
    if worst < _DOUBTFUL:
        if schedule:
            return f"the maps explain the scan only in part: {schedule}"
        return f"the maps explain the scan: {left}"
    check = "check the scale and order of traj, the schedule with its inversion, and that the file is not noise"
    schedule = f"; {schedule}" if schedule else ""
    if worst < _CONTRADICTED:
        return f"the maps explain the scan in part: {left}; where the noise is not that strong, {check}{schedule}"
    return f"the maps do NOT explain the scan: {left}; {check}{schedule}"


def _schedule_words(outside: float) -> str:
    return (
        f"{100 * outside:.1f} % of the samples at the centre of k-space are no mixture of tissue under this schedule: check"
        " the inversion, the flip angles and their order, or give the transmit field (B1)"
    )


def explains(misfit: float, residual: float, outside: float | None) -> bool:
    """Whether ``verdict`` has nothing to warn of."""
    return max(misfit, residual) < _DOUBTFUL and (outside is None or outside <= _OTHER_SCHEDULE)


def scaled_reference(maps: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, float]:
    """The truth with its PD in the unit of ``maps`` (3, H, W), by least squares in the mask, and the factor."""
    own, known = maps[2][mask].double(), truth[2][mask].double()
    factor = float((own * known).sum() / known.square().sum())
    factor = factor if factor > 0 else 1.0
    return truth * torch.tensor([1.0, 1.0, factor])[:, None, None], factor


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
