"""Bring in published weights of LipForensics or of the lip-reading zoo."""

from shared_utils import cli


def import_checkpoint(file: str, out: str, overwrite: bool = False) -> None:
    """Import a published checkpoint into a folder that every command here takes as --ckpt.

    What the file is, is recognised by its entries, and all of them are used or named. LipForensics' file becomes a detector;
    of a network that reads words, front-end and trunk are kept to begin training with. Both want crops of variant 2020 from
    68 landmarks.

    Args:
        file: the published file; no code in it is run.
        out: the folder to write (model.safetensors and config.json).
        overwrite: replace what is in --out.
    """
    from av_deepfake.pretrained import import_file
    from shared_utils import files

    files.refuse_existing(out, overwrite)
    print(f"{import_file(file, out)}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
