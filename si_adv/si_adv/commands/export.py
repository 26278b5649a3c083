"""Write a victim in the form that others want."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "pt2", "onnx"] = "pretrained",
    batch_size: int = 1,
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Export a victim.

    Args:
        ckpt: the victim; the bundled one where not given.
        to: pretrained (model.safetensors and config.json), published (a checkpoint that the published code loads),
            pt2 (torch.export), onnx (needs the extra "onnx").
        batch_size: clouds at once, for pt2 and onnx.
        out: a folder for pretrained, a file otherwise; in a new runs/export/version_N where not given.
        overwrite: replace --out.
    """
    from pathlib import Path

    from shared_utils import files, logging
    from si_adv import pretrained
    from si_adv.deployment import SUFFIXES, export_victim

    if out is not None:
        files.refuse_existing(out, overwrite)
    victim = pretrained.load_one(ckpt)
    target = logging.run_folder("export") / f"victim{SUFFIXES[to]}" if out is None else Path(out)
    export_victim(victim, target, to, batch_size)
    print(f"wrote {target}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
