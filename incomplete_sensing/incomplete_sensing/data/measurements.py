"""Measurements: made from images, or as a user has them on disk."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from incomplete_sensing.data.images import ImageSource
from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorFamily
from shared_utils import UserError

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """measurements (B, *measurement_shape), g (B,) long, and the truth (B, C, H, W): None in self-supervised training."""

    measurements: Tensor
    g: Tensor
    truth: Tensor | None = None


def assign_operators(num_items: int, num_operators: int, seed: int, training: bool = True) -> Tensor:
    """g of every item: equal contiguous chunks of one random permutation, the remainder to the last operator [MOI].

    Raises UserError in training for fewer items than operators; in evaluation they are given different ones.
    """
    rng = np.random.default_rng((seed, 1))
    if num_items < num_operators:
        if training:
            raise UserError(
                f"{num_items} images are fewer than {num_operators} operators: each operator needs at least one"
            )
        return torch.from_numpy(rng.permutation(num_operators)[:num_items])
    g = torch.empty(num_items, dtype=torch.long)
    places = torch.from_numpy(rng.permutation(num_items))
    g[places] = (torch.arange(num_items) // (num_items // num_operators)).clamp(max=num_operators - 1)
    return g


class Measurements(Dataset[Batch]):
    """Measurements with their operators ``g`` (N,), indexed by a list of numbers, which gives a whole ``Batch``."""

    g: Tensor

    def __len__(self) -> int:
        return len(self.g)

    def __getitem__(self, rows: Sequence[int] | Tensor) -> Batch:
        raise NotImplementedError


class SimulatedMeasurements(Measurements):
    """y_i = A_{g_i} x_i (+ noise) of a source's images; indexed by a list of numbers, which gives a whole ``Batch``.

    The noise of an item follows from (seed, its number) alone. Sources in memory are measured once; after that, unless
    the truth is asked for, nothing of their images is kept.
    """

    cache_limit = 2**31

    def __init__(
        self,
        source: ImageSource,
        numbers: Tensor,
        g: Tensor,
        operators: OperatorFamily,
        noise: Noise,
        seed: int,
        truth: bool,
        skip_corrupt: bool = False,
    ) -> None:
        self.numbers, self.g, self.operators, self.noise = numbers, g, operators, noise
        self.seed, self.truth, self.skip_corrupt = seed, truth, skip_corrupt
        self.source: ImageSource | None = source
        self.cached: Tensor | None = None
        size = 4 * len(numbers) * int(np.prod(operators.measurement_shape))
        if source.in_memory and size <= self.cache_limit:
            rows = torch.arange(len(numbers)).split(1024)
            self.cached = torch.cat([self._measure(part, source.batch(numbers[part])[0]) for part in rows])
            if not truth:
                self.source = None

    @torch.no_grad()
    def _measure(self, rows: Tensor, images: Tensor) -> Tensor:
        clean = self.operators(images, self.g[rows])
        if not self.noise:
            return clean
        noisy = []
        for row, values in zip(rows.tolist(), clean, strict=True):
            key = np.random.SeedSequence((self.seed, 2, int(self.numbers[row])))
            generator = torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
            observed = self.operators.observed(int(self.g[row]))
            noisy.append(self.noise(values[None], observed, generator))
        return torch.cat(noisy)

    def __getitem__(self, rows: Sequence[int] | Tensor) -> Batch:
        rows = torch.as_tensor(rows)
        if self.cached is not None and not self.truth:
            return Batch(self.cached[rows], self.g[rows])
        assert self.source is not None  # left out only where the measurements are kept and no truth is asked for
        if self.cached is not None:
            return Batch(self.cached[rows], self.g[rows], self.source.batch(self.numbers[rows])[0])
        images, kept = self.source.batch(self.numbers[rows], self.skip_corrupt)
        rows = rows[kept]
        return Batch(self._measure(rows, images), self.g[rows], images if self.truth else None)


class StoredMeasurements(Measurements):
    """Measurements that a user has: y (N, *measurement_shape), g (N,), x (N, C, H, W) or None; indexed by lists."""

    def __init__(self, measurements: Tensor, g: Tensor, images: Tensor | None, truth: bool) -> None:
        self.measurements, self.g, self.images = measurements, g, images if truth else None

    def __getitem__(self, rows: Sequence[int] | Tensor) -> Batch:
        rows = torch.as_tensor(rows)
        truth = None if self.images is None else self.images[rows].float()
        return Batch(self.measurements[rows].float(), self.g[rows], truth)


class Arrays(NamedTuple):
    """What a measurement file holds."""

    measurements: Tensor
    g: Tensor
    images: Tensor | None


def read_measurements(path: str | Path, operators: OperatorFamily) -> Arrays:
    """``y``, ``g`` and, where there is truth, ``x`` of an ``.npz``; checked against the operators.

    y: (N, *measurement_shape), complex where it has real and imaginary part ((N, H, W) or (N, coils, H, W) for MRI).
    g may be left out where there is one operator.

    Raises UserError, naming the file, what was found and what was expected.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"measurements {path} not found: check the path")
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (
        ValueError,
        OSError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        TypeError,
        AttributeError,
    ) as error:
        raise UserError(f"{path} is not a readable .npz file of measurements (arrays y and g)") from error
    if "y" not in arrays:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}: expected y (N, ...) and g (N,)")
    y = arrays["y"]
    if np.iscomplexobj(y):
        y = np.stack((y.real, y.imag), 1)
    if tuple(y.shape[1:]) != operators.measurement_shape:
        raise UserError(
            f"{path}: y has shape {y.shape}, expected (N, {', '.join(map(str, operators.measurement_shape))})"
        )
    if not np.isfinite(y).all():
        bad = int(np.flatnonzero(~np.isfinite(y.reshape(len(y), -1)).all(1))[0])
        raise UserError(f"{path}: measurement {bad} holds NaN or infinite entries")
    if "g" not in arrays and operators.num_operators > 1:
        raise UserError(
            f"{path} has no g: with {operators.num_operators} operators each measurement says which it is from"
        )
    g = arrays.get("g", np.zeros(len(y), np.int64))
    if g.shape != (len(y),) or g.dtype.kind not in "iu":
        raise UserError(f"{path}: g has shape {g.shape} and type {g.dtype}, expected {len(y)} whole numbers")
    unknown = sorted(set(g.tolist()) - set(range(operators.num_operators)))
    if unknown:
        raise UserError(f"{path}: unknown operator {unknown[0]} in g; known are 0 .. {operators.num_operators - 1}")
    images = arrays.get("x")
    if images is not None and np.iscomplexobj(images):
        images = np.stack((images.real, images.imag), 1)
    if images is not None and tuple(images.shape) != (len(y), *operators.image_shape):
        raise UserError(f"{path}: x has shape {images.shape}, expected {(len(y), *operators.image_shape)}")
    return Arrays(
        torch.from_numpy(y.astype(np.float32)),
        torch.from_numpy(g.astype(np.int64)),
        None if images is None else torch.from_numpy(images.astype(np.float32)),
    )
