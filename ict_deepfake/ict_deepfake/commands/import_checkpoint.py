"""Bring in a published checkpoint or reference set."""

from shared_utils import cli


def import_checkpoint(
    file: str,
    out: str,
    num_heads: int | None = None,
    overwrite: bool = False,
) -> None:
    """Import ICT_Base.pth into a folder that every command here takes as --ckpt, or ref.pkl into a reference set.

    What the file is, is recognised by its entries. A RetinaFace file needs no import: give it as --face_weights.

    Args:
        file: the published file.
        out: the folder to write (model.safetensors and config.json); for a reference set a .safetensors or .npz file.
        num_heads: of the network's attention, where the file is not of the published size, for it does not show it.
        overwrite: replace what is in --out.
    """
    from ict_deepfake.pretrained import import_file
    from shared_utils import files

    files.refuse_existing(out, overwrite)
    print(f"{import_file(file, out, num_heads)}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
