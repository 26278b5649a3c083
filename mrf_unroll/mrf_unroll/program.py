"""A trained network as a program of ``torch.export``."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from mrf_unroll.models import UnrolledNetwork
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, files


class _Step(torch.nn.Module):
    def __init__(self, network: UnrolledNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.encode(g)


def write_program(reconstructor: Reconstructor, out: str | Path) -> None:
    """Write encoder and decoder, the time series of one slice to maps and time series, to ``out``.

    The iteration around them needs the operator of a scan.

    Raises:
        UserError: where the program's output is not the network's.
    """
    step = _Step(reconstructor.network).eval()
    options = reconstructor.options
    size = options["image_size"] or (128, 128)
    g = torch.randn(1, options["rank"], *size, generator=torch.Generator().manual_seed(0))
    g = g.to(torch.complex64) if options["complex_valued"] else g
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(step, (g,))
        with temporary.open("wb") as stream:
            torch.export.save(program, stream)
        with temporary.open("rb") as stream:
            result = torch.export.load(stream).module()(g)
        difference = max(float((a - b).abs().max()) for a, b in zip(result, step(g), strict=True))
        if difference > 1e-4 * float(step(g)[0].abs().max()):
            raise UserError(f"the exported program differs from the network by {difference:.2g}: nothing was written")
