"""Slices of tissue maps: procedural heads, or your own maps from a folder, split by subject."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch.nn import functional

from mrf_unroll.data.discs import discs
from mrf_unroll.data.maps import read_maps
from mrf_unroll.data.phantoms import head_phantom, vary_maps
from mrf_unroll.data.randomised import random_slice
from shared_utils import UserError

log = logging.getLogger(__name__)

# Masks are where PD exceeds this share of its maximum, with holes filled.
_MASK_LEVEL = 0.1
_PD_QUANTILE = 0.995


class Slice(NamedTuple):
    """One slice of a subject.

    Args:
        maps: (3, H, W) float32, T1 [s], T2 [s], PD, 0 outside.
        mask: (H, W) bool.
        phase: (H, W) float32 rad.
        subject: whose.
    """

    maps: np.ndarray
    mask: np.ndarray
    phase: np.ndarray
    subject: str


SPLITS = ("train", "val", "test")


Anatomy = Literal["randomised", "heads"]


def procedural_slices(
    split: str, count: int, size: int, seed: int, anatomy: Anatomy = "heads", jitter: float = 0.05
) -> list[Slice]:
    """``count`` slices of ``size`` pixels, a subject each; the splits draw from generators of their own.

    Args:
        anatomy: ``heads`` of the listed tissues (+- ``jitter``); ``randomised``: tissue from anywhere (``random_slice``).
    """
    slices = []
    for number in range(count):
        rng = np.random.default_rng((seed, SPLITS.index(split), number))
        head = head_phantom(size, rng, jitter) if anatomy == "heads" else random_slice(size, rng)
        slices.append(Slice(head.maps, head.mask, smooth_phase(size, rng), f"{split}{number}"))
    return slices


def disc_slices(size: int) -> list[Slice]:
    """The slices of ``discs`` of ``size`` pixels, without a phase."""
    return [
        Slice(one.maps, one.mask, np.zeros(one.mask.shape, np.float32), f"discs{number}")
        for number, one in enumerate(discs(size))
    ]


def smooth_phase(size: int, rng: np.random.Generator) -> np.ndarray:
    """An object phase (size, size) in rad: a constant, a slope and a slow bend."""
    row, column = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    a, b, c, d, e = rng.uniform(-1, 1, 5)
    return (np.pi * a + 1.2 * (b * row + c * column) + d * row * column + e * (row**2 - column**2)).astype(np.float32)


def map_files(root: str | Path) -> list[Path]:
    """The map files below ``root``, sorted.

    Raises:
        UserError: where there is none.
    """
    root = Path(root)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise UserError(f"{root} not found: data.root is a folder of .npz or .mat maps with T1, T2, PD (README, Data)")
    found = sorted(
        path for path in root.rglob("*") if path.suffix in (".npz", ".mat") and not path.name.startswith(".")
    )
    if not found:
        raise UserError(f"no .npz or .mat maps in {root}: expected one file a subject with T1, T2, PD (README, Data)")
    return found


def read_slices(path: str | Path, size: int, unit_t: str | None = None, resample: bool = False) -> list[Slice]:
    """The slices of one map file (one subject), brought to ``size`` pixels; see ``fit_to_size``."""
    stored = read_maps(path, unit_t)
    scale = float(np.quantile(stored.pd[stored.mask], _PD_QUANTILE)) if stored.mask.any() else 0.0
    slices = []
    for place in range(len(stored.pd)):
        maps = np.stack([stored.t1_s[place], stored.t2_s[place], stored.pd[place]]).astype(np.float32)
        phase = np.zeros_like(maps[0]) if stored.phase is None else stored.phase[place].astype(np.float32)
        maps, mask, phase = fit_to_size(maps, stored.mask[place], np.nan_to_num(phase), size, resample)
        if not mask.any():
            log.warning("%s: slice %d is empty, left out", path, place)
            continue
        maps[2] /= scale
        maps[1] = np.minimum(maps[0], maps[1])
        slices.append(Slice(maps * tissue_mask(maps, mask), tissue_mask(maps, mask), phase, str(Path(path).stem)))
    if not slices:
        raise UserError(f"{path}: the mask has no voxel in any slice: check PD and the mask")
    return slices


def tissue_mask(maps: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where PD exceeds a tenth of its maximum, holes filled, and all three maps are known."""
    filled = binary_fill_holes(mask & (maps[2] > _MASK_LEVEL * maps[2][mask].max()))
    return filled & mask & (maps[:2] > 0).all(axis=0)


def fit_to_size(
    maps: np.ndarray, mask: np.ndarray, phase: np.ndarray, size: int, resample: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop or pad about the centre to a square of ``size``; ``resample``: scale the whole field of view to it instead.

    Resampled voxels are averages over the tissue inside them; they belong to the mask where half of them does.
    """
    maps, mask, phase = maps * mask, mask.astype(bool), phase * mask
    if resample:
        side = max(mask.shape)
        maps, mask, phase = _square(maps, side), _square(mask, side), _square(phase, side)
        weight = mask.astype(np.float32)
        turned = np.exp(1j * phase) * weight
        stack = np.concatenate([maps, weight[None], turned.real[None], turned.imag[None]]).astype(np.float32)
        small = functional.interpolate(torch.from_numpy(stack)[None], size=(size, size), mode="area")[0].numpy()
        inside = small[3] >= 0.5
        averaged = np.where(inside, small[:3] / np.maximum(small[3], 1e-6), 0)
        return (
            averaged.astype(np.float32),
            inside,
            np.where(inside, np.arctan2(small[5], small[4]), 0).astype(np.float32),
        )
    return _square(maps, size), _square(mask, size), _square(phase, size)


def _square(value: np.ndarray, size: int) -> np.ndarray:
    """Crop or zero-pad the last two axes about the centre."""
    for axis in (-2, -1):
        excess = value.shape[axis] - size
        if excess > 0:
            value = np.take(value, range(excess // 2, excess // 2 + size), axis=axis)
        elif excess < 0:
            widths = [(0, 0)] * value.ndim
            widths[axis] = (-excess // 2, -excess - (-excess // 2))
            value = np.pad(value, widths)
    return np.ascontiguousarray(value)


def map_folder_slices(
    root: str | Path,
    size: int,
    unit_t: str | None,
    resample: bool,
    seed: int,
    val_subjects: int,
    test_subjects: int,
    variants: int = 0,
) -> dict[str, list[Slice]]:
    """Slices a split, divided by subject and never by slice: a file is a subject.

    Folders ``train``, ``val`` and ``test`` below ``root`` are taken as they are; otherwise subjects are drawn with
    ``seed``.

    Args:
        variants: deformed and varied copies of every training slice (``vary_maps``) beside it.
    """
    files = map_files(root)
    chosen = {split: [path for path in files if split in path.relative_to(root).parts[:-1]] for split in SPLITS}
    if not any(chosen.values()):
        order = np.random.default_rng((seed, 7)).permutation(len(files))
        files = [files[place] for place in order]
        held = test_subjects + val_subjects
        if len(files) <= held:
            raise UserError(
                f"{root} holds {len(files)} subjects, of which {test_subjects} are for test and {val_subjects} for"
                " validation: none is left to train on; change data.num_test and data.num_val"
            )
        chosen = {"test": files[:test_subjects], "val": files[test_subjects:held], "train": files[held:]}
    slices = {
        split: [one for path in paths for one in read_slices(path, size, unit_t, resample)]
        for split, paths in chosen.items()
    }
    varied = []
    for place, one in enumerate(slices["train"]):
        for copy in range(variants):
            rng = np.random.default_rng((seed, 8, place, copy))
            head = vary_maps(one.maps, one.mask, rng)
            varied.append(Slice(head.maps, head.mask, one.phase, one.subject))
    slices["train"] += varied
    return slices
