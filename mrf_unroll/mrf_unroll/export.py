"""Trained networks in the forms that others want."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import torch

from mrf_unroll.evaluation import network_folder, training_steps
from mrf_unroll.models import ResNet
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, checkpoint


def export_network(path: str | Path | None, out: str | Path, to: Literal["pretrained", "published", "pt2"]) -> None:
    """Write the network at ``path`` (see ``Reconstructor.load``) to ``out``.

    Raises UserError for ``published`` of a network that the published code does not have, and where an exported program's
    output is not the network's.
    """
    reconstructor, out = Reconstructor.load(path), Path(out)
    if to == "pretrained":
        _pretrained(reconstructor, path, out)
    elif to == "published":
        checkpoint.save(published_content(reconstructor), out)
    else:
        _program(reconstructor, out)


def _pretrained(reconstructor: Reconstructor, path: str | Path | None, out: Path) -> None:
    reconstructor.save_pretrained(out)
    if steps := training_steps(path).get("unrolled"):
        checkpoint.write_json({"steps": steps}, out / "training.json")
    for rival in sorted(network_folder(path).glob("rivals/*/config.json")):
        for name in ("config.json", "model.safetensors", "training.json"):
            if (rival.parent / name).is_file():
                target = out / "rivals" / rival.parent.name / name
                with checkpoint.replacing(target) as temporary:
                    temporary.write_bytes((rival.parent / name).read_bytes())


def published_content(reconstructor: Reconstructor) -> dict[str, object]:
    """What PGD-Net's code saves: ``alpha`` (T,) and ``net_state_dict``; the decoder, which it keeps apart, under ``bloch.``."""
    network = reconstructor.network
    if not isinstance(network.encoder, ResNet) or network.complex_valued or network.step_rule != "relu_plus_one":
        raise UserError(
            "only the published network (encoder resnet, real time series, step_rule relu_plus_one) has a published form:"
            " use --to pretrained"
        )
    if float(network.decoder.scale) != 1:
        raise UserError(
            "the decoder has a scale of its own, which the published code does not know: use --to pretrained"
        )
    state = {f"transformnet.{name}": value for name, value in network.encoder.state_dict().items()}
    state |= {f"bloch.{name}": value for name, value in network.decoder.state_dict().items() if name != "scale"}
    return {"alpha": network.alpha.detach().clone(), "net_state_dict": state}


class _Step(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.encode(g)


def _program(reconstructor: Reconstructor, out: Path) -> None:
    step = _Step(reconstructor.network).eval()
    options = reconstructor.options
    size = options["image_size"] or (128, 128)
    g = torch.randn(1, options["rank"], *size, generator=torch.Generator().manual_seed(0))
    g = g.to(torch.complex64) if options["complex_valued"] else g
    with checkpoint.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(step, (g,))
        with temporary.open("wb") as stream:
            torch.export.save(program, stream)
        with temporary.open("rb") as stream:
            result = torch.export.load(stream).module()(g)
        difference = max(float((a - b).abs().max()) for a, b in zip(result, step(g), strict=True))
        if difference > 1e-4 * float(step(g)[0].abs().max()):
            raise UserError(f"the exported program differs from the network by {difference:.2g}: nothing was written")
