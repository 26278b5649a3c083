"""BART's ``.cfl``/``.hdr`` arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError


def read_cfl(path: str | Path) -> np.ndarray:
    """The complex64 array of ``<name>.cfl`` and ``<name>.hdr``, in the header's dimensions, trailing ones dropped.

    Raises UserError when one of the two is missing or they do not fit each other.
    """
    path = Path(path).with_suffix("")
    header, data = path.with_suffix(".hdr"), path.with_suffix(".cfl")
    for file in (header, data):
        if not file.is_file():
            raise UserError(f"{file} not found: a BART array is a .hdr and a .cfl of one name")
    lines = header.read_text().splitlines()
    try:
        place = next(index for index, line in enumerate(lines) if line.strip() == "# Dimensions")
        shape = [int(size) for size in lines[place + 1].split()]
    except (StopIteration, IndexError, ValueError) as error:
        raise UserError(f"{header} has no line of dimensions after '# Dimensions'") from error
    values = np.fromfile(data, dtype="<c8")
    if values.size != int(np.prod(shape)):
        raise UserError(f"{data} holds {values.size} numbers, {header.name} says {' x '.join(map(str, shape))}")
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return values.reshape(shape, order="F")


def read_multicoil_scan(path: str | Path) -> Tensor:
    """A 2-D multi-coil k-space (1, H, W, coils), as BART keeps it, as (coils, H, W) complex64."""
    values = read_cfl(path)
    if values.ndim != 4 or values.shape[0] != 1:
        raise UserError(f"{path} has dimensions {values.shape}: expected one slice of k-space (1, H, W, coils)")
    return torch.from_numpy(np.ascontiguousarray(values[0].transpose(2, 0, 1)))
