"""Bring in a published checkpoint, with RAFT where it is inside or beside."""

import sys

from old_films_rtn import commands


def import_checkpoint(file: str, out: str = "rtn.safetensors", raft: str | None = None) -> None:
    """Import a published generator into one safetensors file that every command here takes as --ckpt.

    Args:
        file: net_G_200000.pth, or a state dict in its layout (wrapped or bare, with or without "module.").
        out: the file to write.
        raft: a RAFT file (raft-sintel.pth, or torchvision's raft_large) to put in, where the checkpoint has none. What is
            inside the checkpoint is what it was trained with, and wins.
    """
    from pathlib import Path

    from old_films_rtn import published
    from shared_utils import UserError, checkpoint

    if Path(out).suffix != ".safetensors":
        raise UserError(f"--out {out} must end in .safetensors")
    state = published.state_of(checkpoint.load_tensors(file), file)
    loaded, report = published.import_generator(state, file)
    estimator = loaded.raft
    if raft is not None:
        if estimator is not None:
            raise UserError(f"{file} has RAFT inside, which it was trained with: leave --raft out")
        estimator = published.load_raft(raft)
    checkpoint.save_safetensors(published.state_to_save(loaded.rtn, estimator), out)
    print(
        f"generator: {report}\nRAFT: {'inside' if estimator is not None else 'none; restore with --flow dis or raft:FILE'}"
    )
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return commands.run(import_checkpoint, argv)


if __name__ == "__main__":
    sys.exit(main())
