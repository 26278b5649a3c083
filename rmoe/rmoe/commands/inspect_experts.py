"""Show what the experts of a model do: load, entropy, dropped tokens, residuals, and maps over images."""

from shared_utils import cli


def inspect_experts(
    ckpt: str | None = None,
    data: str | None = None,
    limit: int = 32,
    out: str = "runs/experts",
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Inspect the experts of a model; writes layers.csv, experts.csv, load.png and experts.png.

    Args:
        ckpt: the model; the bundled one where not given.
        data: a data set as for evaluate.py, or a picture or folder of pictures; the procedural default where not given.
        limit: at most this many images.
        out: folder to write.
        device: auto, cpu, cuda, mps.
        overwrite: replace what is in out.
    """
    from rmoe import inspection, pretrained
    from shared_utils import distributed, files, logging

    files.refuse_existing(out, overwrite)
    given = pretrained.load(ckpt).to(distributed.choose_device(device))
    layers, _ = inspection.inspect(given, data, out, limit)
    print(logging.table(layers, "mixtures"))
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(inspect_experts, argv)
