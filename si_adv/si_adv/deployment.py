"""Victims in the forms that others want."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import torch

from shared_utils import UserError, checkpoint, files
from si_adv.published import export_published
from si_adv.victim import Victim

#: Endings of what ``export_victim`` writes; none for a folder.
SUFFIXES = {"pretrained": "", "published": ".pth", "pt2": ".pt2", "onnx": ".onnx"}


def export_victim(
    victim: Victim, out: str | Path, to: Literal["pretrained", "published", "pt2", "onnx"], batch_size: int = 1
) -> None:
    """Write a victim; where it has an input, that is (batch_size, 3, num_points), 6 channels where it takes normals.

    Args:
        victim: what is exported.
        out: a folder for pretrained, a file otherwise.
        to: pretrained (``save_pretrained``), published (as the published code loads it), pt2 (torch.export), onnx.
        batch_size: clouds at once, for pt2 and onnx.

    Raises:
        UserError: onnx without its packages.
    """
    out = Path(out)
    if to == "pretrained":
        victim.save_pretrained(out)
        return
    if to == "published":
        checkpoint.save(export_published(victim), out)
        return
    clouds = torch.rand(batch_size, 6 if victim.with_normals else 3, victim.num_points)
    if to == "pt2":
        with torch.no_grad():
            program = torch.export.export(victim.eval(), (clouds,))
        with files.replacing(out) as temporary, temporary.open("wb") as stream:
            torch.export.save(program, stream)
        return
    try:
        import onnxscript  # noqa: F401 (what torch's exporter is written with)
    except ImportError:
        raise UserError("onnx needs the packages onnx and onnxscript: pip install onnx onnxscript") from None
    with files.replacing(out) as temporary, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names: dict[str, Any] = {"input_names": ["clouds"], "output_names": ["scores"]}
        torch.onnx.export(victim.eval(), (clouds,), temporary, dynamo=True, external_data=False, **names)
