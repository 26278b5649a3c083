"""The data files of the published code: PGD-Net's training files, and the subspaces of PGD-Net and LRTV-MRFResNet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrf_unroll.arrays import load_arrays, require
from shared_utils import UserError


@dataclass(frozen=True)
class PublishedData:
    """PGD-Net's ``train_dataXS11_s.mat``: tsmi (n, s, H, W), kspace (n, M) complex, maps (n, 3, H, W) in s, mask (M,) 0-based."""

    tsmi: np.ndarray
    kspace: np.ndarray
    maps: np.ndarray
    mask: np.ndarray


def read_pgdnet_data(path: str | Path) -> PublishedData:
    """Read ``X`` (n, H, W, s), ``y_s_real``, ``y_s_imag`` (n, M), ``MRF_maps`` (n, H, W, 3) and the 1-based ``samplemask_s``."""
    content = load_arrays(path)
    names = ("X", "y_s_real", "y_s_imag", "MRF_maps", "samplemask_s")
    require(content, path, *names, fix="it is not a training or test file of PGD-Net")
    x, maps = content["X"], content["MRF_maps"]
    if x.ndim != 4 or maps.ndim != 4 or maps.shape[-1] != 3 or x.shape[:3] != maps.shape[:3]:
        raise UserError(f"{path}: X {x.shape} and MRF_maps {maps.shape} must be (n, H, W, s) and (n, H, W, 3)")
    mask = np.ravel(content["samplemask_s"]).astype(np.int64) - 1
    kspace = content["y_s_real"] + 1j * content["y_s_imag"]
    if len(mask) and mask.min() < 0:
        raise UserError(f"{path}: samplemask_s must count from 1, its smallest value is {mask.min() + 1}")
    if kspace.shape != (len(x), len(mask)):
        raise UserError(f"{path}: y_s {kspace.shape} does not fit {len(x)} slices and {len(mask)} samples of the mask")
    planes = (np.ascontiguousarray(np.moveaxis(value, -1, 1), dtype=np.float32) for value in (x, maps))
    tsmi, maps = planes
    return PublishedData(tsmi, kspace.astype(np.complex64), maps, mask)


def read_pgdnet_subspace(path: str | Path) -> np.ndarray:
    """``V`` (N, s) of PGD-Net's ``pytorch_Ramp2D_..._trainingset.mat``, of LRTV's ``dictSVD.mat`` or of ``MRFResnet_AE.mat``."""
    content = load_arrays(path)
    for name in ("V", "dict.V", "nn.V"):
        if name in content:
            basis = np.asarray(content[name])
            basis = basis[..., 0] + 1j * basis[..., 1] if basis.ndim == 3 and basis.shape[-1] == 2 else basis
            if basis.ndim != 2 or basis.shape[0] < basis.shape[1]:
                raise UserError(f"{path}: {name} has shape {basis.shape}, expected (frames, components)")
            return basis
    raise UserError(
        f"{path} has no subspace V (it has {', '.join(content)}): it is not a subspace file of PGD-Net or LRTV"
    )
