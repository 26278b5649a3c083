"""Bring in a published checkpoint."""

import sys

from shared_utils import cli


def import_checkpoint(input: str, out: str) -> None:
    """Import an OUTrack, FairMOT or CenterNet file (DLA-34) into a folder that every command takes as --checkpoint.

    Args:
        input: the published .pth file.
        out: the folder to write (model.safetensors and config.json).
    """
    from mot_occlusion.checkpoints import import_model
    from shared_utils.checkpoint import load_tensors

    model, report = import_model(load_tensors(input), input)
    model.save_pretrained(out)
    print(f"{report}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(import_checkpoint, argv)


if __name__ == "__main__":
    sys.exit(main())
