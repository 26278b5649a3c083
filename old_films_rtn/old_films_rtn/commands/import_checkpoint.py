"""Bring in a published checkpoint, with RAFT where it is inside or beside."""

from shared_utils import cli


def import_checkpoint(file: str, out: str, raft: str | None = None, overwrite: bool = False) -> None:
    """Import a published generator into a folder that every command here takes as --ckpt.

    Args:
        file: net_G_200000.pth, or a state dict in its layout (wrapped or bare, with or without "module.").
        out: the folder to write.
        raft: a RAFT file (raft-sintel.pth, or torchvision's raft_large) to put in, where the checkpoint has none. What is
            inside the checkpoint is what it was trained with, and wins.
        overwrite: replace what is there.
    """
    from shared_utils import UserError, files

    files.refuse_existing(out, overwrite)

    from old_films_rtn import pretrained, published
    from shared_utils import checkpoint

    state = published.state_of(checkpoint.load_tensors(file), file)
    (rtn, inside), report = published.import_generator(state, file)
    if raft is not None and inside is not None:
        raise UserError(f"{file} has RAFT inside, which it was trained with: leave --raft out")
    restorer = pretrained.Restorer(rtn, inside if raft is None else published.load_raft(raft))
    restorer.save_pretrained(out)
    has = "none; restore with --flow dis or raft:FILE" if restorer.raft is None else "inside"
    print(f"generator: {report}\nRAFT: {has}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(import_checkpoint, argv)
