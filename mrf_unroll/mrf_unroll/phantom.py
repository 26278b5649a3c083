"""Reference values of a phantom's vials, compared with maps: what a site checks its protocol by."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError

_COLUMNS = ("vial", "row", "column", "radius", "T1_ms", "T2_ms")


@dataclass(frozen=True)
class Vial:
    """A disc of voxels (H, W) and what its T1 and T2 [ms] are known to be."""

    name: str
    mask: np.ndarray
    t1_ms: float
    t2_ms: float


def read_vials(path: str | Path, image_size: tuple[int, int]) -> list[Vial]:
    """The vials of a CSV file with the columns vial, row, column, radius (voxels), T1_ms, T2_ms.

    Raises:
        UserError: for other columns, values that are no numbers, vials outside the image, and T2 above T1.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} not found: a phantom is a CSV file with the columns {', '.join(_COLUMNS)}")
    with Path(path).open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if missing := [name for name in _COLUMNS if name not in (reader.fieldnames or ())]:
            raise UserError(f"{path} has no column {missing[0]}: it must have {', '.join(_COLUMNS)}")
        rows = list(reader)
    if not rows:
        raise UserError(f"{path} has no vial: a line each is needed")
    grid = np.indices(image_size)
    vials = []
    for row in rows:
        try:
            values = [float(row[name]) for name in _COLUMNS[1:]]
        except (TypeError, ValueError):
            raise UserError(
                f"{path}: vial {row['vial']} has values that are no numbers: {list(row.values())}"
            ) from None
        down, across, radius, t1, t2 = values
        if not (np.isfinite(values).all() and 0 < t2 <= t1):
            raise UserError(
                f"{path}: vial {row['vial']} has T1 {t1:g} and T2 {t2:g} ms: T2 must be above 0 and at most T1"
            )
        mask = np.hypot(grid[0] - down, grid[1] - across) <= radius
        if not mask.any() or not (0 <= down < image_size[0] and 0 <= across < image_size[1]):
            raise UserError(
                f"{path}: vial {row['vial']} has no voxel in an image of {image_size}: check row, column, radius"
            )
        vials.append(Vial(str(row["vial"]), mask, t1, t2))
    return vials


def compared_vials(maps: Tensor, vials: Sequence[Vial]) -> list[dict[str, Any]]:
    """Mean, deviation and bias in percent of T1 and T2 in every vial; maps: (3, H, W), T1 and T2 in s."""
    rows = []
    for vial in vials:
        row: dict[str, Any] = {"vial": vial.name, "voxels": int(vial.mask.sum())}
        for place, (name, known) in enumerate((("T1", vial.t1_ms), ("T2", vial.t2_ms))):
            values = 1000 * maps[place][torch.from_numpy(vial.mask)].double()
            mean, deviation = float(values.mean()), float(values.std(correction=0))
            row |= {
                f"{name}_ms": round(mean, 2),
                f"{name}_sd_ms": round(deviation, 2),
                f"{name}_reference_ms": known,
                f"{name}_bias_percent": round(100 * (mean / known - 1), 2),
            }
        rows.append(row)
    return rows
