"""Write a network in the form that others want."""

import sys
from typing import Literal

from shared_utils import cli


def export(
    out: str,
    checkpoint: str | None = None,
    to: Literal["pretrained", "published", "onnx", "pt2"] = "pretrained",
    input_size: tuple[int, int] | None = None,
) -> None:
    """Export a network.

    Args:
        out: a folder for pretrained, a file otherwise.
        checkpoint: the network; the one that travels with the package where not given.
        to: pretrained (model.safetensors and config.json), published (a file that FairMOT's and OUTrack's code loads),
            onnx (needs the extra "onnx"), pt2 (torch.export).
        input_size: height and width of the image, for onnx and pt2; what the network was trained for where not given.
    """
    from mot_occlusion.checkpoints import load_model
    from mot_occlusion.export import export_model

    export_model(load_model(checkpoint), out, to, input_size)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)


if __name__ == "__main__":
    sys.exit(main())
