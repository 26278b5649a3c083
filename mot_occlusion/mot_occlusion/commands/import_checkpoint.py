"""Bring in a published checkpoint."""

from shared_utils import cli


def import_checkpoint(file: str, out: str, overwrite: bool = False) -> None:
    """Import an OUTrack, FairMOT or CenterNet file (DLA-34) into a folder that every command takes as --ckpt.

    Args:
        file: the published .pth file.
        out: the folder to write (model.safetensors and config.json).
        overwrite: replace what is in it.
    """
    from shared_utils import files

    files.refuse_existing(out, overwrite)

    from mot_occlusion.pretrained import import_model
    from shared_utils.checkpoint import load_tensors

    model, report = import_model(load_tensors(file), file)
    model.save_pretrained(out)
    print(f"{report}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
