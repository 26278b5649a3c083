"""The operators that the published code caches, one a file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.operators.base import OperatorFamily
from incomplete_sensing.operators.dense import DenseOperators
from incomplete_sensing.operators.masks import MaskOperators
from incomplete_sensing.operators.mri import MRIOperators
from incomplete_sensing.torch_files import read_published
from shared_utils import UserError

_NUMBER = re.compile(r"_g(\d+)\.(?:pt|pth\.tar|pth)$")


def read_published_operators(path: str | Path, image_shape: Sequence[int] | None = None) -> OperatorFamily:
    """The operators that MOI caches, from one file or a folder of ``..._g<number>`` files, in the order of g.

    ``forw_cs_{m}x{n}_G{G}_g{g}.pt`` [A, A^+] (float64), ``forw_ipt_{m}x{n}_G{G}_g{g}.pt`` a mask (n, 1),
    ``mask{H}x{W}_random{rate}_G100_g{g}.pt`` a mask (H, W), ``mask_{acc}x_G100_g{g}.pth.tar`` {'mask': (1, W, 1)} of
    k-space.

    Args:
        path: the file or folder.
        image_shape: (C, H, W); needed for RGB and where n is not a square.

    Raises:
        UserError: the folder is empty or mixed, g has gaps, or the contents are others.
    """
    path = Path(path)
    files = [path]
    if path.is_dir():
        numbered = {file: int(found[1]) for file in path.iterdir() if (found := _NUMBER.search(file.name))}
        files = sorted(numbered, key=lambda file: numbered[file])
        if not files:
            raise UserError(f"{path} holds no operator files ..._g<number>.pt: expected what the published code caches")
        families = {_NUMBER.sub("", file.name) for file in files}
        if len(families) > 1:
            raise UserError(
                f"{path} holds several families ({', '.join(sorted(families))}): put one into a folder of its own"
            )
        numbers = [numbered[file] for file in files]
        if numbers != list(range(len(numbers))):
            missing = next(g for g in range(len(numbers) + 1) if g not in numbers)
            raise UserError(f"{path} lacks operator {missing} (it has {', '.join(map(str, numbers))})")
    contents = [read_published(file) for file in files]
    first = contents[0]
    if isinstance(first, list | tuple) and len(first) == 2 and all(np.ndim(part) == 2 for part in first):
        matrices = torch.stack([torch.as_tensor(np.asarray(content[0])) for content in contents])
        return DenseOperators(matrices, image_shape or _square_shape(matrices.shape[2]))
    if isinstance(first, Mapping) and "mask" in first:
        masks = torch.stack([torch.as_tensor(content["mask"]).reshape(-1).float() for content in contents])
        return MRIOperators(masks, image_shape or (2, masks.shape[1], masks.shape[1]))
    if isinstance(first, Tensor) and first.ndim == 2:
        masks = torch.stack([content.float() for content in contents])
        if masks.shape[2] == 1:
            shape = tuple(image_shape or _square_shape(masks.shape[1]))
            return MaskOperators(masks.reshape(len(masks), *shape), shape)
        return MaskOperators(masks, image_shape or (1, *masks.shape[1:]))
    raise UserError(f"{files[0]} is not an operator file of the published code: it holds a {type(first).__name__}")


def _square_shape(n: int) -> tuple[int, int, int]:
    side = round(n**0.5)
    if side * side != n:
        raise UserError(f"{n} pixels are not a square: give the images' shape (C, H, W)")
    return 1, side, side
