"""Write a reconstruction in the form that others want."""

import sys
from typing import Literal

from shared_utils import cli


def export(
    ckpt: str,
    out: str,
    to: Literal["pretrained", "published", "torchscript", "pt2", "onnx"] = "pretrained",
    batch_size: int = 1,
) -> None:
    """Export a reconstruction; the network's output is compared before and after.

    Args:
        ckpt: a run's folder, a checkpoint of it, or an imported one.
        out: a folder for pretrained, a file otherwise.
        to: pretrained (model.safetensors with the operators, and config.json), published (a checkpoint that the
            published code loads), or the network alone, from A^+ y to the image: torchscript, pt2 (torch.export), onnx
            (needs the extra "onnx").
        batch_size: images at once, for torchscript, pt2 and onnx.
    """
    from incomplete_sensing.export import export_reconstructor
    from incomplete_sensing.reconstructor import Reconstructor

    export_reconstructor(Reconstructor.load(ckpt), out, to, batch_size)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)


if __name__ == "__main__":
    sys.exit(main())
