"""Reconstruct every scan of a folder; what is finished is kept, and never mixed with what other settings gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mrf_unroll.arrays import file_digest
from mrf_unroll.outputs import Result
from mrf_unroll.reconstruction import ScanReconstructor, Settings
from shared_utils import UserError, distributed, work

_KINDS = (".npz", ".h5", ".hdf5", ".mrd")


def find_scans(scan: str | Path) -> list[Path]:
    """The scan files that ``scan`` means: itself, or all .npz, .h5, .hdf5 and .mrd in a folder.

    Raises:
        UserError: for none, and where two would have one name.
    """
    path = Path(scan)
    if not path.is_dir():
        return [path]
    found = [one for one in sorted(path.iterdir()) if one.suffix in _KINDS and not one.name.endswith("_maps.npz")]
    if not found:
        raise UserError(f"no scan (.npz, .h5, .mrd) in the folder {path}")
    names = [one.stem for one in found]
    for one in found:
        if names.count(one.stem) > 1 or one.stem == work.PARTS:
            raise UserError(f"{one}: the results would go to a folder {one.stem}, which is taken: rename the scan")
    return found


def reconstruct_scans(
    scan: str | Path,
    out: str | Path,
    settings: Settings,
    device: str | torch.device = "cpu",
    resume: bool = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Reconstruct a scan into ``out``, or every scan of a folder into a folder of its name in ``out``; the reports.

    What is finished is kept under a description of the job: the settings, and the digests of network, files and scans.
    The scans are shared over the ranks of a process group.

    Raises:
        UserError: ``out`` exists and neither ``resume`` nor ``overwrite`` is given, it was begun as another job, or
            a scan does not fit; before any work.
    """
    found = {path.stem: path for path in find_scans(scan)}
    folders = {name: Path(out) / name if Path(scan).is_dir() else Path(out) for name in found}
    reconstruct = ScanReconstructor(settings, device)
    for path in found.values():
        reconstruct.read(path)
    job = {**reconstruct.job, **{f"scan {path.name}": file_digest(path) for path in found.values()}}

    def compute(name: str) -> dict[str, Any]:
        result = reconstruct(found[name])
        result.write(folders[name], settings.also)
        return result.as_arrays()

    with work.begin(out, job, resume=resume, overwrite=overwrite) as kept:
        kept.finish(list(found), compute, "reconstructing")
        results = {name: Result.from_arrays(kept.read(name)) for name in found}
        if distributed.rank() == 0:
            for name, result in results.items():
                if not all((folders[name] / file).is_file() for file in result.files(settings.also)):
                    result.write(folders[name], settings.also)
        kept.complete()
    return [result.report for result in results.values()]
