"""``Problem``: which images, through which operators, with which noise."""

from __future__ import annotations

import inspect
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.data.images import ComplexImages, ImageSource
from incomplete_sensing.data.layouts import Images, Layout, detect_layout, open_images
from incomplete_sensing.data.measurements import (
    Measurements,
    SimulatedMeasurements,
    StoredMeasurements,
    assign_operators,
    read_measurements,
)
from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorFamily, OperatorOptions, draw_operators, read_operators
from shared_utils import UserError


class Problem:
    """Measurements of images, or measurements that are on disk already.

    root: the data, in any layout of the README; None: the embedded digits. layout: found out where "auto". operators:
    which ones; measurements on disk bring their own (``operators.npz``). noise_sigma, noise_gain: see ``Noise``.
    image_size: centre crop; halve: average 2 x 2 pixels after it (EI's Urban100); grey: convert. seed: of the splits, the
    operators and the noise. num_train, num_test: use at most so many.
    """

    def __init__(
        self,
        root: str | None = None,
        layout: Layout = "auto",
        operators: OperatorOptions | None = None,
        noise_sigma: float = 0.0,
        noise_gain: float = 0.0,
        image_size: int | None = None,
        halve: bool = False,
        grey: bool = False,
        seed: int = 0,
        num_train: int | None = None,
        num_test: int | None = None,
    ) -> None:
        self.root, self.operators = root, operators or OperatorOptions()
        self.layout: Layout = layout
        self.noise = Noise(noise_sigma, noise_gain)
        self.image_size, self.halve, self.grey = image_size, halve, grey
        self.seed, self.num_train, self.num_test = seed, num_train, num_test

    @classmethod
    def of(cls, options: dict[str, Any], **changes: Any) -> Problem:
        """The problem that a checkpoint's ``data`` describes, with some arguments changed; others are left aside."""
        names = inspect.signature(cls).parameters
        known = {name: value for name, value in {**options, **changes}.items() if name in names}
        if isinstance(known.get("operators"), dict):
            known["operators"] = OperatorOptions(**known["operators"])
        return cls(**known)

    @cached_property
    def measured(self) -> bool:
        """Whether the data are measurements already."""
        if self.root is None:
            return False
        return self.layout == "measurements" or (
            self.layout == "auto" and detect_layout(Path(self.root)) == "measurements"
        )

    @property
    def _place(self) -> Path:
        """Where measurements are."""
        assert self.root is not None, "the embedded digits are images"
        return Path(self.root)

    def _measured_file(self, name: str) -> Path:
        return self._place if self._place.is_file() else self._place / name

    @cached_property
    def images(self) -> Images:
        images = open_images(self.root, self.layout, self.image_size, self.halve, self.grey, self.seed)
        if self.operators.kind == "mri" and images.train.shape[0] != 2:
            images = Images(ComplexImages(images.train), ComplexImages(images.test))
        return images

    @cached_property
    def family(self) -> OperatorFamily:
        """The operators."""
        if self.measured:
            stored = self._place / "operators.npz"
            path = self.operators.path or (stored if stored.is_file() else None)
            if path is None:
                raise UserError(
                    f"{stored} not found: measurements need their operators there, or in data.operators.path"
                )
            return read_operators(path)
        return draw_operators(self.operators, self.images.train.shape, self.seed)

    def _numbers(self, count: int, limit: int | None, stream: int) -> Tensor:
        """Numbers of ``count`` items, or of ``limit`` random ones."""
        if limit is None or limit >= count:
            return torch.arange(count)
        return torch.from_numpy(np.sort(np.random.default_rng((self.seed, stream)).permutation(count)[:limit]))

    def dataset(
        self, split: Literal["train", "test"], truth: bool, family: OperatorFamily | None = None
    ) -> Measurements:
        """The measurements of a split, indexed by lists of numbers; ``family``: through these operators instead."""
        training = split == "train"
        operators = family or self.family
        if self.measured:
            arrays = read_measurements(self._measured_file(f"{split}.npz"), operators)
            if truth and training and arrays.images is None:
                raise UserError(f"{self._measured_file('train.npz')} has no x: supervised training needs the truth")
            return StoredMeasurements(*arrays, truth=truth)
        source: ImageSource = self.images.train if training else self.images.test
        numbers = self._numbers(len(source), self.num_train if training else self.num_test, 4 + training)
        g = assign_operators(len(numbers), operators.num_operators, self.seed + (not training), training)
        return SimulatedMeasurements(source, numbers, g, operators, self.noise, self.seed, truth, skip_corrupt=training)
