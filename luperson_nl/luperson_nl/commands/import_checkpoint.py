"""Bring in a published checkpoint."""

from typing import Literal

from shared_utils import cli


def import_checkpoint(
    file: str,
    out: str,
    encoder: Literal["q", "k"] = "q",
    trunk: str | None = None,
    kind: Literal["bot", "agw"] | None = None,
    pool: str | None = None,
    size: tuple[int, int] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    overwrite: bool = False,
) -> None:
    """Import a published checkpoint into a folder that every command here takes as --ckpt.

    PNL, MoCo, SimCLR, ResNets of torchvision, timm and torchreid, BoT, AGW and MGN of fast-reid and its fork are
    recognised by their names and shapes.

    Args:
        file: the published file.
        out: the folder to write (model.safetensors and config.json).
        encoder: of a pre-training file: q (trained) or k (its moving mean).
        trunk: timm:NAME for a model of timm, whose names do not tell which it is.
        kind: bot or agw, where the names do not tell.
        pool: of the head, where the file does not tell: mean, max, mean_max, clipped_mean or gem.
        size: height and width of the input; 256 128, or 384 128 for mgn, where not given.
        mean: of the pixels in 0..1, where the file does not tell.
        std: of the pixels in 0..1, where the file does not tell.
        overwrite: replace what is in --out.
    """
    from luperson_nl.pretrained import from_published
    from luperson_nl.published import import_published
    from shared_utils import files

    files.refuse_existing(out, overwrite)
    published = import_published(file, encoder, trunk, kind, **({} if pool is None else {"pool": pool}))
    view = {name: value for name, value in (("size", size), ("mean", mean), ("std", std)) if value is not None}
    embedder = from_published(published, **view)
    embedder.save_pretrained(out)
    print(
        f"{published}\nimages: {embedder.size[0]}x{embedder.size[1]}, mean {embedder.mean}, std {embedder.std}\nwrote {out}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
