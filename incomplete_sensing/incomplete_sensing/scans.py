"""Reconstruction of measurements as they come: without truth."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import torch

from incomplete_sensing import evaluation
from incomplete_sensing.data.bart import read_multicoil_scan
from incomplete_sensing.data.measurements import Batch, read_measurements
from incomplete_sensing.metrics import consistency_residual
from incomplete_sensing.operators import MultiCoilMRIOperators, OperatorFamily, estimate_coil_maps, read_operators
from incomplete_sensing.operators.mri import to_complex, to_real
from incomplete_sensing.reconstructor import Reconstructor
from shared_utils import UserError, distributed
from shared_utils.checkpoint import replacing


class PseudoInverse(torch.nn.Module):
    """A^+ y in the place of a ``Reconstructor``."""

    start = "pinv"

    def __init__(self, operators: OperatorFamily) -> None:
        super().__init__()
        self.operators = operators
        self.complex_valued = operators.kind in ("mri", "multicoil_mri")

    def predict(
        self, measurements: torch.Tensor, g: torch.Tensor, operators: OperatorFamily | None = None
    ) -> torch.Tensor:
        return (operators or self.operators).pinv(measurements, g)


def reconstruct_measurements(
    path: str, out: Path, ckpt: str | None, operators: str | None, panels: int, batch_size: int, device: torch.device
) -> str:
    """Write ``reconstructions.npz`` and ``panels.png``; what was done, in a sentence.

    Interrupted, it goes on from the parts that are finished when it is called again with the same files.
    """
    given = None if operators is None else read_operators(operators)
    if ckpt is None and given is None:
        raise UserError("give a checkpoint (--ckpt), or operators (--operators) for A^+ y")
    model = PseudoInverse(given) if ckpt is None else Reconstructor.load(ckpt, given)
    if model.operators is None:
        raise UserError(f"{ckpt} comes without operators: give them (--operators)")
    model = model.to(device).eval()
    arrays = read_measurements(path, model.operators)
    if not len(arrays.g):
        raise UserError(f"{path} holds no measurements")
    parts = out / f".parts-{_key(path, ckpt, operators, batch_size)}"
    files = list(evaluation.reconstruct_parts(model, arrays.measurements, arrays.g, parts, batch_size, device))
    if distributed.rank() == 0:
        loaded = [np.load(file) for file in files]
        residual = np.concatenate([part["residual"] for part in loaded])
        with replacing(out / "reconstructions.npz") as temporary, temporary.open("wb") as stream:
            np.savez(stream, x=np.concatenate([part["x"] for part in loaded]), g=arrays.g.numpy(), residual=residual)
        first = evaluation.to_device(Batch(arrays.measurements[:panels], arrays.g[:panels]), device)
        evaluation.draw_panels(out / "panels.png", model, model.operators, first)
        shutil.rmtree(parts)
        return f"{len(residual)} reconstructions, ||A x - y|| / ||y|| = {residual.mean():.4f} on average"
    return ""


def _key(*parts: object) -> str:
    """A name for the unfinished work on these files, so that parts of other work are not taken for it."""
    digest = hashlib.sha256()
    for part in parts:
        path = Path(str(part))
        stamp = f"{path.stat().st_size} {path.stat().st_mtime_ns}" if path.exists() else ""
        digest.update(f"{part} {stamp};".encode())
    return digest.hexdigest()[:16]


def reconstruct_scan(path: str, out: Path, regularisation: float) -> dict[str, float]:
    """One multi-coil scan by zero-filled and by regularised SENSE, from itself alone; their residuals by name.

    Coil maps come from the scan's own centre. The scan is scaled so that the zero-filled image peaks at 1, and the
    weight of ||x||^2 is ``regularisation`` times the largest eigenvalue of A^T A, which the maps, of unit sum of
    squares, make at most 1.
    """
    k_space = read_multicoil_scan(path)
    pattern = (k_space.abs().sum(0) > 0).float()
    operators = MultiCoilMRIOperators(pattern[None], estimate_coil_maps(k_space))
    measurements = to_real(k_space[None])
    zero_filled = operators.adjoint(measurements, 0)
    scale = zero_filled.square().sum(1).sqrt().max()
    measurements, zero_filled = measurements / scale, zero_filled / scale
    sense = operators.regularised(measurements, 0, regularisation)
    images = {"zero-filled SENSE": zero_filled, "SENSE": sense}
    residuals = {name: float(consistency_residual(x, measurements, operators, 0)) for name, x in images.items()}
    from incomplete_sensing import figures

    stacked = np.stack([to_complex(x * scale)[0].numpy() for x in images.values()])
    with replacing(out / "reconstructions.npz") as temporary, temporary.open("wb") as stream:
        np.savez(stream, x=stacked, names=np.array(list(images)), coil_maps=operators.coil_maps[0].numpy())
    shown = {"sampled k-space": pattern[None].numpy()}
    for name, x in images.items():
        # A few bright pixels would make the rest dark.
        grey = x.square().sum(1).sqrt()
        shown[name] = (grey / grey.flatten().quantile(0.995)).numpy()
    figures.panels(out / "panels.png", shown)
    return residuals
