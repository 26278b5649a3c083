"""Random families. Operator g depends on the seed and on g alone, so that families are nested: the first ten of forty
are the family of ten, and operators beyond G are unseen ones of the same distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily
from incomplete_sensing.operators.dense import DenseOperators
from incomplete_sensing.operators.files import read_operators
from incomplete_sensing.operators.masks import MaskOperators
from incomplete_sensing.operators.mri import MRIOperators
from incomplete_sensing.operators.tomography import TomographyOperators
from shared_utils import UserError


@dataclass
class OperatorOptions:
    """Which operators.

    Args:
        kind: gaussian (compressed sensing), mask (inpainting), mri (random columns of k-space, as fastMRI draws them), ct
            (random views), file.
        num_operators: G.
        num_measurements: m, the rows of a gaussian operator or the kept pixels of a mask.
        keep: the share of pixels a mask keeps, instead of num_measurements.
        exact_count: keep exactly that many pixels, not that many on average as the published code does.
        row_scale: entries of variance 1/n (MOI) or 1/m (EI, deepinv).
        acceleration: of mri.
        centre_fraction: of mri.
        num_views: of ct.
        path: of file.
    """

    kind: Literal["gaussian", "mask", "mri", "ct", "file"] = "gaussian"
    num_operators: int = 10
    num_measurements: int | None = None
    keep: float | None = None
    exact_count: bool = False
    row_scale: Literal["n", "m"] = "n"
    acceleration: float = 4.0
    centre_fraction: float = 0.04
    num_views: int = 50
    path: str | None = None


def draw_operators(
    options: OperatorOptions, image_shape: Sequence[int], seed: int = 0, first: int = 0
) -> OperatorFamily:
    """Operators first .. first + G - 1 of the endless family that ``seed`` draws; those of a file are read.

    Args:
        options: which operators.
        image_shape: (C, H, W).
        seed: of the endless family.
        first: number of the first operator.

    Raises:
        UserError: the options do not fit each other or the images.
    """
    image_shape = tuple(int(size) for size in image_shape)
    channels, height, width = image_shape
    n = channels * height * width
    if options.num_operators < 1:
        raise UserError(f"num_operators must be at least 1, got {options.num_operators}")
    numbers = range(first, first + options.num_operators)
    if options.kind == "file":
        if options.path is None:
            raise UserError("operators of kind file need their path: give operators.path")
        return read_operators(options.path, image_shape)
    if options.kind == "gaussian":
        m = options.num_measurements
        if m is None or not 1 <= m <= n:
            raise UserError(f"num_measurements of gaussian operators must lie in 1 .. n = {n}, got {m}")
        scale = (n if options.row_scale == "n" else m) ** -0.5
        matrices = np.stack([np.random.default_rng((seed, g)).standard_normal((m, n)) for g in numbers])
        return DenseOperators(torch.from_numpy((matrices * scale).astype(np.float32)), image_shape)
    if options.kind == "mask":
        return MaskOperators(torch.from_numpy(_pixel_masks(options, height, width, seed, numbers)), image_shape)
    if options.kind == "mri":
        masks = [
            fastmri_column_mask(width, options.acceleration, options.centre_fraction, _legacy_seed(seed, g))
            for g in numbers
        ]
        return MRIOperators(torch.stack(masks), image_shape)
    angles = [np.sort(np.random.default_rng((seed, g)).uniform(0, 180, options.num_views)) for g in numbers]
    return TomographyOperators(torch.from_numpy(np.stack(angles).astype(np.float32)), image_shape)


def _pixel_masks(options: OperatorOptions, height: int, width: int, seed: int, numbers: range) -> np.ndarray:
    pixels = height * width
    if options.keep is not None and options.num_measurements is None:
        keep = options.keep
    elif options.keep is None and options.num_measurements is not None:
        keep = options.num_measurements / pixels
    else:
        raise UserError("masks need one of keep (share of pixels) and num_measurements (pixels)")
    if not 0 < keep <= 1:
        raise UserError(f"masks must keep more than none and at most all of {pixels} pixels, got a share of {keep:g}")
    masks = []
    for g in numbers:
        uniform = np.random.default_rng((seed, g)).random(pixels)
        if options.exact_count:
            mask = np.zeros(pixels, np.float32)
            mask[np.argsort(uniform, kind="stable")[: max(1, round(keep * pixels))]] = 1
        else:
            mask = (uniform < keep).astype(np.float32)
        masks.append(mask.reshape(height, width))
    return np.stack(masks)


def _legacy_seed(seed: int, g: int) -> int:
    return int(np.random.SeedSequence((seed, g)).generate_state(1)[0])


def fastmri_column_mask(width: int, acceleration: float, centre_fraction: float, seed: int) -> Tensor:
    """The column mask of fastMRI 0.1.1's RandomMaskFunc, number for number: (width,), 0 and 1.

    round(width * centre_fraction) columns in the middle, every other one with the probability that makes the expected
    acceleration right.
    """
    centre = round(width * centre_fraction)
    if not 0 < centre < width or acceleration < 1 or width / acceleration < centre:
        raise UserError(
            f"a mask of {width} columns cannot have acceleration {acceleration:g} with {centre} columns in its centre"
        )
    stream = np.random.RandomState(seed)
    stream.randint(1)  # fastMRI draws which of its (here: one) pairs of centre fraction and acceleration it uses
    probability = (width / acceleration - centre) / (width - centre)
    mask = stream.uniform(size=width) < probability
    start = (width - centre + 1) // 2
    mask[start : start + centre] = True
    return torch.from_numpy(mask.astype(np.float32))
