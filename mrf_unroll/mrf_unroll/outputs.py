"""What a reconstruction leaves on disk: maps, report and picture, and on request NIfTI, DICOM and the time series."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mrf_unroll import figures
from mrf_unroll.arrays import write_arrays
from mrf_unroll.data.images import check_packages, write_dicom, write_nifti
from mrf_unroll.evaluation import title
from mrf_unroll.metrics import NAMES
from mrf_unroll.report import IN_MS
from shared_utils import UserError, files

FILES = ("maps.npz", "maps.png", "report.json")
# What is written beside them where it is asked for.
ALSO = ("nifti", "dicom", "series")
_UNCERTAINTY = "uncertainty.png"  # of one slice
UNITS = {"T1": "ms", "T2": "ms", "PD": ""}
_SHOWN = 6


def check_also(also: Sequence[str]) -> None:
    """Raise UserError for an output that there is not, and where its package is missing."""
    for name in also:
        if name not in ALSO:
            raise UserError(f"also {name!r}: there are {', '.join(ALSO)}")
    check_packages("nifti" in also, "dicom" in also)


@dataclass(frozen=True)
class Result:
    """The slices of a scan.

    Args:
        maps: (S, 3, H, W), T1 [s], T2 [s], PD.
        mask: (S, H, W), of the object.
        truth: (S, 3, H, W) where one is known.
        deviations: (S, 3, H, W) standard deviations of the maps, where they are known.
        series: (S, s, H, W) the time series on ``basis`` (N, s).
        affine: (4, 4) of the volume, where its place is known.
    """

    maps: Tensor
    mask: Tensor
    truth: Tensor | None
    deviations: Tensor | None
    series: Tensor
    basis: Tensor
    affine: np.ndarray | None
    report: dict[str, Any]

    def as_arrays(self) -> dict[str, Any]:
        """The arrays of a part of a job."""
        known = {"truth": self.truth, "deviations": self.deviations, "affine": self.affine}
        return {
            "maps": self.maps,
            "mask": self.mask,
            "series": self.series,
            "basis": self.basis,
            "report": json.dumps(self.report),
            **{name: value for name, value in known.items() if value is not None},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Result:
        """The result of what ``as_arrays`` gave."""

        def tensor(name: str) -> Tensor | None:
            return torch.from_numpy(arrays[name]) if name in arrays else None

        maps, mask, series, basis = (torch.from_numpy(arrays[name]) for name in ("maps", "mask", "series", "basis"))
        affine = arrays.get("affine")
        return cls(
            maps, mask, tensor("truth"), tensor("deviations"), series, basis, affine, json.loads(str(arrays["report"]))
        )

    def files(self, also: Sequence[str]) -> list[str]:
        """Names of what ``write`` leaves."""
        names: list[str] = [*FILES]
        if self.deviations is not None and len(self.maps) == 1:
            names.append(_UNCERTAINTY)
        if "nifti" in also:
            names += [f"{name}.nii.gz" for name in self._volumes()]
        if "dicom" in also:
            names += [f"dicom/{name}_{place:03d}.dcm" for name in NAMES for place in range(len(self.maps))]
        if "series" in also:
            names.append("series.npz")
        return names

    def _volumes(self) -> dict[str, np.ndarray]:
        """(S, H, W) by name, in ms: the maps, and their deviations as ``T1_sd``."""
        volumes: dict[str, np.ndarray] = dict(zip(NAMES, (IN_MS * self.maps).movedim(1, 0).numpy(), strict=True))
        if self.deviations is not None:
            named = zip(NAMES, (IN_MS * self.deviations).movedim(1, 0).numpy(), strict=True)
            volumes |= {f"{name}_sd": value for name, value in named}
        return volumes

    def write(self, folder: Path, also: Sequence[str] = ()) -> None:
        """maps.npz (ms), maps.png, what ``also`` names, and report.json last. One slice is (H, W), several (S, H, W)."""

        def squeezed(value: np.ndarray) -> np.ndarray:
            return value[0] if len(value) == 1 else value

        volumes = self._volumes()
        entries: dict[str, Any] = {name: squeezed(value) for name, value in volumes.items()}
        entries |= {"unit_t": "ms", "mask": squeezed(self.mask.numpy()), "affine": self.affine}
        write_arrays(folder / FILES[0], entries)
        self._draw(folder / FILES[1])
        if "nifti" in also:
            for name, value in volumes.items():
                write_nifti(folder / f"{name}.nii.gz", value, self.affine)
        if "dicom" in also:
            assert self.affine is not None
            write_dicom(folder / "dicom", {name: volumes[name] for name in NAMES}, self.affine, UNITS)
        if "series" in also:
            # Frame n is sum_k basis[n, k] coefficients[k].
            write_arrays(
                folder / "series.npz", {"coefficients": squeezed(self.series.numpy()), "basis": self.basis.numpy()}
            )
        files.write_json(self.report, folder / FILES[2])

    def _draw(self, path: Path) -> None:
        places = np.unique(np.linspace(0, len(self.maps) - 1, min(len(self.maps), _SHOWN)).round().astype(int)).tolist()
        if len(places) == 1:
            truth = None if self.truth is None else self.truth[0]
            figures.map_grid(path, truth, self.mask[0], {title(self.report["method"]): self.maps[0]})
            if self.deviations is not None:
                figures.uncertainty(path.with_name(_UNCERTAINTY), self.maps[0], self.deviations[0], truth, self.mask[0])
            return
        figures.map_grid(path, None, None, {f"slice {place}": self.maps[place] * self.mask[place] for place in places})
