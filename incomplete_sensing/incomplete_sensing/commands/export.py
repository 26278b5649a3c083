"""Write a reconstruction in the form that others want."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "torchscript", "pt2", "onnx"] = "pretrained",
    out: str | None = None,
    batch_size: int = 1,
    overwrite: bool = False,
) -> None:
    """Export a reconstruction; the network's output is compared before and after.

    Args:
        ckpt: a run's folder, a checkpoint of it, an imported one, or a hub repository; the bundled model where not given.
        to: pretrained (model.safetensors with the operators, and config.json), published (a checkpoint that the
            published code loads), or the network alone, from A^+ y to the image: torchscript, pt2 (torch.export), onnx
            (needs the extra "onnx").
        out: a folder for pretrained, a file otherwise; exported, exported.pt2, ... where not given.
        batch_size: images at once, for torchscript, pt2 and onnx.
        overwrite: replace what is there.
    """
    from incomplete_sensing import export as exports
    from incomplete_sensing import pretrained
    from shared_utils import files

    out = out or exports.DEFAULT_NAMES[to]
    files.refuse_existing(out, overwrite)
    exports.export_reconstructor(pretrained.load(ckpt), out, to, batch_size)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)
