"""Write a network in the format of another program."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "onnx", "pt2"] = "pretrained",
    out: str | None = None,
    overwrite: bool = False,
    input_size: tuple[int, int] | None = None,
) -> None:
    """Export a network.

    Args:
        ckpt: the network, as of track.py; the bundled one where not given.
        to: pretrained (model.safetensors and config.json), published (a file that FairMOT's and OUTrack's code loads),
            onnx (needs the extra "onnx"), pt2 (torch.export).
        out: a folder for pretrained, a file otherwise; in a new runs/export/version_N where not given.
        overwrite: replace it where it exists.
        input_size: height and width of the image, for onnx and pt2; what the network was trained for where not given.
    """
    from pathlib import Path

    from shared_utils import files, logging

    if out is not None:
        files.refuse_existing(out, overwrite)

    from mot_occlusion.exchange import SUFFIXES, export_model
    from mot_occlusion.pretrained import load_model

    model = load_model(ckpt)
    target = logging.run_folder("export") / f"model{SUFFIXES[to]}" if out is None else Path(out)
    export_model(model, target, to, input_size)
    print(f"wrote {target}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
