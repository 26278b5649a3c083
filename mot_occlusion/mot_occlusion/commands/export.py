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
        out: a folder for pretrained, a file otherwise; exported/pretrained, exported/model.pth, ... where not given.
        overwrite: replace it where it exists.
        input_size: height and width of the image, for onnx and pt2; what the network was trained for where not given.
    """
    from shared_utils import files

    names = {"pretrained": "pretrained", "published": "model.pth", "onnx": "model.onnx", "pt2": "model.pt2"}
    out = out or f"exported/{names[to]}"
    files.refuse_existing(out, overwrite)

    from mot_occlusion.exchange import export_model
    from mot_occlusion.pretrained import load_model

    export_model(load_model(ckpt), out, to, input_size)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)
