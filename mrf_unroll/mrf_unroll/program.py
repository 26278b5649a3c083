"""A trained network as a program of ``torch.export``."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch

from mrf_unroll.models import DictionaryEncoder, UnrolledNetwork
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, files


class _Encode(torch.nn.Module):
    def __init__(self, network: UnrolledNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.encode(g)


class _Pass(torch.nn.Module):
    """Pass t (an integer tensor without axes) of a network: the weights that the passes do not share are chosen by it."""

    def __init__(self, network: UnrolledNetwork) -> None:
        super().__init__()
        network = copy.deepcopy(network)
        self.encode, self.names = _Encode(network), list[str]()
        encoder = network.encoder
        if isinstance(encoder, DictionaryEncoder) and encoder.passes > 1:
            own = [dict(denoiser.named_parameters()) for denoiser in encoder.denoisers]
            encoder.denoisers = encoder.denoisers[:1]
            for number, name in enumerate(own[0]):
                self.register_buffer(f"weight_{number}", torch.stack([one[name].detach() for one in own]))
                self.names.append(f"network.encoder.denoisers.0.{name}")

    def forward(self, g: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = {
            name: getattr(self, f"weight_{number}").index_select(0, t[None])[0]
            for number, name in enumerate(self.names)
        }
        return torch.func.functional_call(self.encode, chosen, (g,))


def write_program(reconstructor: Reconstructor, out: str | Path) -> None:
    """Write encoder and decoder, the time series of one slice and the pass t to maps and time series, to ``out``.

    The iteration around them needs the operator of a scan.

    Raises:
        UserError: where the program's output is not the network's.
    """
    network = reconstructor.network.eval()
    step = _Pass(network).eval()
    options = reconstructor.options
    size = options["image_size"] or (128, 128)
    g = torch.randn(1, options["rank"], *size, generator=torch.Generator().manual_seed(0))
    g = g.to(torch.complex64) if options["complex_valued"] else g
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(step, (g, torch.tensor(0)))
        with temporary.open("wb") as stream:
            torch.export.save(program, stream)
        with temporary.open("rb") as stream:
            result = torch.export.load(stream).module()
        for t in range(network.iterations):
            pairs = zip(result(g, torch.tensor(t)), network.encode(g, t), strict=True)
            difference = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
            if difference > 1e-4:
                raise UserError(
                    f"pass {t} of the exported program differs from the network's by {difference:.2g}: nothing was written"
                )
