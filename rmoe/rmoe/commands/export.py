"""Write a model in the form that others want."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "dense", "merged", "tutel", "onnx", "torch_export"] = "pretrained",
    out: str | None = None,
    size: tuple[int, int] | None = None,
    ranks: int = 1,
    overwrite: bool = False,
) -> None:
    """Export a model, read it again, and print the largest difference.

    Args:
        ckpt: the model; the bundled one where not given.
        to: pretrained (a folder that every command takes); dense (the same without residuals); merged (whole weights an
            expert); tutel (the names and the order of Swin-MoE's files); onnx, torch_export (a program from an image in
            0..255 to logits, its normalisation inside; of a detector to the feature pyramid).
        out: a folder for pretrained, dense and merged, a file otherwise; exported/... where not given.
        size: of a program's image, as [512,512].
        ranks: of tutel, files: one a rank.
        overwrite: replace what is there.
    """
    from pathlib import Path

    from rmoe import deployment, pretrained
    from shared_utils import UserError, files

    target = Path(out or f"exported/{to}{deployment.SUFFIXES[to]}")
    if ranks < 1 or (ranks > 1 and to != "tutel"):
        raise UserError("ranks is how many files --to tutel writes: at least 1")
    for path in [target] if ranks == 1 else [target.with_name(f"{target.name}.rank{rank}") for rank in range(ranks)]:
        files.refuse_existing(path, overwrite)
    given = pretrained.load(ckpt)
    print(deployment.export_model(given, target, to, size, ranks))
    print(f"wrote {target}{f'.rank0 to .rank{ranks - 1}' * (ranks > 1)}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
