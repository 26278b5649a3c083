"""Write a detector in the form that others load."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "onnx", "pt2", "torchscript"] = "pretrained",
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Export a detector, and say what its input has to be.

    Args:
        ckpt: the detector; the bundled one where not given.
        to: pretrained (model.safetensors and config.json), published (the layout of ICT_Base.pth), onnx (one file; needs
            the extra "onnx"), pt2 (torch.export) or torchscript. The last three take aligned RGB pictures in 0..255 of any
            batch size, and give inner and outer embeddings and their squared distance.
        out: a folder for pretrained, a file otherwise; in a new runs/export/version_N where not given.
        overwrite: replace --out.
    """
    from pathlib import Path

    from ict_deepfake import deployment, pretrained
    from shared_utils import files, logging

    if out is not None:
        files.refuse_existing(out, overwrite)
    detector = pretrained.load(ckpt)
    target = logging.run_folder("export") / f"model{deployment.SUFFIXES[to]}" if out is None else Path(out)
    print(f"{deployment.export_detector(detector, target, to)}\nwrote {target}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
