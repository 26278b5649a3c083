"""Write a model in the form that others want."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal[
        "pretrained", "torchvision", "timm", "fork", "fastreid", "reid", "onnx", "torchscript", "pnl", "moco"
    ] = "pretrained",
    pixels: Literal["0-1", "0-255", "imagenet", "own"] = "0-1",
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Export a model, and say what its input has to be.

    Args:
        ckpt: the model; the bundled one where not given.
        to: pretrained (model.safetensors and config.json), torchvision (names that torchreid and boxmot have too), timm,
            fork (fast-reid of LUPerson-NL), fastreid (upstream), reid (the folder of trackers' package), onnx (needs the
            extra "onnx"), torchscript, pnl or moco (the whole pre-training, for the published code).
        pixels: what onnx and torchscript take: 0-1, 0-255, imagenet (normalised as boxmot does) or own.
        out: a folder for pretrained and reid, a file otherwise; in a new runs/export/version_N where not given.
        overwrite: replace --out.
    """
    from pathlib import Path

    from luperson_nl import deployment, pretrained
    from shared_utils import files, logging

    if out is not None:
        files.refuse_existing(out, overwrite)
    training = to in deployment.TRAINING
    embedder = None if training else pretrained.load(ckpt)
    target = logging.run_folder("export") / f"model{deployment.SUFFIXES[to]}" if out is None else Path(out)
    if embedder is None:
        about = deployment.export_training(ckpt, target, to)
    else:
        about = deployment.export_embedder(embedder, target, to, pixels)
    print(f"{about}\nwrote {target}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
