"""Reconstruction of measurements as they come: without truth."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing import figures, pretrained
from incomplete_sensing.data.bart import read_multicoil_scan
from incomplete_sensing.data.fastmri import read_multicoil_slice
from incomplete_sensing.data.measurements import Batch, read_measurements
from incomplete_sensing.evaluation import draw_panels, to_device
from incomplete_sensing.metrics import consistency_residual
from incomplete_sensing.operators import MultiCoilMRIOperators, OperatorFamily, estimate_coil_maps, read_operators
from incomplete_sensing.operators.mri import to_complex, to_real
from incomplete_sensing.reconstructor import Reconstructor, Start
from shared_utils import UserError, checkpoint, distributed, files, work

RESULT = "reconstructions.npz"


class PseudoInverse(torch.nn.Module):
    """A^+ y in the place of a ``Reconstructor``."""

    start: Start = "pinv"

    def __init__(self, operators: OperatorFamily) -> None:
        super().__init__()
        self.operators = operators
        self.complex_valued = operators.kind in ("mri", "multicoil_mri")

    def config(self) -> dict[str, Any]:
        return {"network": None, "operators": self.operators.description()}

    def predict(self, measurements: Tensor, g: Tensor, operators: OperatorFamily | None = None) -> Tensor:
        return (operators or self.operators).pinv(measurements, g)


def choose_model(ckpt: str | None, operators: str | None) -> Reconstructor | PseudoInverse:
    """The network of ``ckpt``, with the operators of a file where given; operators alone: A^+ y; neither: bundled.

    Raises:
        UserError: a network without operators, and none are given.
    """
    given = None if operators is None else read_operators(operators)
    if ckpt is None and given is not None:
        return PseudoInverse(given)
    model = pretrained.load(ckpt, given)
    if model.operators is None:
        raise UserError(f"{ckpt} has no operators: give them (--operators)")
    return model


def reconstruct_measurements(
    model: Reconstructor | PseudoInverse,
    measurements: str | Path,
    out: str | Path,
    panels: int = 6,
    batch_size: int = 64,
    resume: bool = False,
    overwrite: bool = False,
) -> str:
    """Write ``reconstructions.npz`` (x, g, residual) and ``panels.png`` into ``out``.

    Args:
        model: on the device to compute on.
        measurements: an ``.npz`` with y (N, ...) and g (N,).
        out: folder for the results and, until they are complete, for what is finished of them.
        panels: images in the picture.
        batch_size: measurements at once.
        resume: continue what is in ``out``.
        overwrite: replace it.

    Returns:
        What was done, in a sentence.

    Raises:
        UserError: the measurements do not fit the operators; see ``work.begin`` for what ``out`` may hold.
    """
    operators = model.operators
    assert operators is not None, "choose_model gives no network without operators"
    arrays = read_measurements(measurements, operators)
    if not len(arrays.g):
        raise UserError(f"{measurements} holds no measurements")
    out, device = Path(out), operators.device
    parts = {f"batch-{place:06d}": rows for place, rows in enumerate(torch.arange(len(arrays.g)).split(batch_size))}

    @torch.inference_mode()
    def compute(name: str) -> dict[str, Tensor]:
        batch = to_device(Batch(arrays.measurements[parts[name]], arrays.g[parts[name]]), device)
        images = model.predict(batch.measurements, batch.g)
        residual = consistency_residual(images, batch.measurements, operators, batch.g)
        return {"x": images, "residual": residual}

    config = {name: value for name, value in model.config().items() if name != "data"}
    job_options = {
        "measurements": _digest(measurements),
        "model": config,
        "weights": checkpoint.weights_digest(model),
        "batch_size": batch_size,
    }
    with work.begin(out, job_options, resume=resume, overwrite=overwrite) as job:
        if not (job.finished and (out / RESULT).is_file()):
            job.finish(list(parts), compute, "reconstructing")
            if distributed.rank() == 0:
                done = [job.read(name) for name in parts]
                residual = np.concatenate([part["residual"] for part in done])
                _write(out, x=np.concatenate([part["x"] for part in done]), g=arrays.g.numpy(), residual=residual)
                first = to_device(Batch(arrays.measurements[:panels], arrays.g[:panels]), device)
                draw_panels(out / "panels.png", model, operators, first)
            job.complete()
            if distributed.rank() == 0:
                # They are in the result; images need not be kept twice.
                shutil.rmtree(job.folder / work.PARTS)
        with np.load(out / RESULT, allow_pickle=False) as stored:
            residual = stored["residual"]
    return f"{len(residual)} reconstructions, ||A x - y|| / ||y|| = {residual.mean():.4f} on average"


def reconstruct_scan(
    scan: str | Path,
    out: str | Path,
    regularisation: float,
    slice_number: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, float]:
    """One multi-coil scan by zero-filled and by regularised SENSE, from itself alone; their residuals by name.

    Coil maps come from the scan's own centre. The scan is scaled so that the zero-filled image peaks at 1, and the
    weight of ||x||^2 is ``regularisation`` times the largest eigenvalue of A^T A, which the maps, of unit sum of
    squares, make at most 1. slice_number: of a fastMRI volume (.h5), the middle one where not given.
    """
    job_options: dict[str, Any] = {"regularisation": regularisation}
    if Path(scan).suffix == ".h5":
        k_space = read_multicoil_slice(Path(scan), slice_number)
        job_options |= {"scan": _digest(scan), "slice": slice_number}
    else:
        k_space = read_multicoil_scan(scan)
        header, data = (Path(scan).with_suffix(ending) for ending in (".hdr", ".cfl"))
        job_options["scan"] = _digest(header) + _digest(data)
    out = Path(out)
    with work.begin(out, job_options, resume=resume, overwrite=overwrite) as job:
        pattern = (k_space.abs().sum(0) > 0).float()
        operators = MultiCoilMRIOperators(pattern[None], estimate_coil_maps(k_space))
        measurements = to_real(k_space[None])
        zero_filled = operators.adjoint(measurements, 0)
        scale = zero_filled.square().sum(1).sqrt().max()
        measurements, zero_filled = measurements / scale, zero_filled / scale
        sense = operators.regularised(measurements, 0, regularisation)
        images = {"zero-filled SENSE": zero_filled, "SENSE": sense}
        residuals = {name: float(consistency_residual(x, measurements, operators, 0)) for name, x in images.items()}
        stacked = np.stack([to_complex(x * scale)[0].numpy() for x in images.values()])
        _write(out, x=stacked, names=np.array(list(images)), coil_maps=operators.coil_maps[0].numpy())
        shown = {"sampled k-space": pattern[None].numpy()}
        for name, x in images.items():
            # A few bright pixels would make the rest dark.
            grey = x.square().sum(1).sqrt()
            shown[name] = (grey / grey.flatten().quantile(0.995)).numpy()
        figures.panels(out / "panels.png", shown)
        job.complete()
    return residuals


def _write(out: Path, **arrays: Any) -> None:
    with files.replacing(out / RESULT) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _digest(path: str | Path) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
