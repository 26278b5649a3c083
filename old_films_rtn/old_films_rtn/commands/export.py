"""Write a network in the form that others want."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "pt2", "onnx"] = "pretrained",
    out: str | None = None,
    height: int = 256,
    width: int = 448,
    overwrite: bool = False,
) -> None:
    """Export a network; what was written is read back and compared.

    Args:
        ckpt: what restore takes as --ckpt; the bundled network where not given.
        to: pretrained (a folder with model.safetensors and config.json, as every command here takes it), published (a
            checkpoint in the published layout, without RAFT; only of networks with the published output,
            model.tanh_residual), pt2 (torch.export) or onnx (needs the extra "onnx"): transformers and decoder, from a
            frame and both fused states to the restored frame and both new states; the recurrence stays a loop of the
            caller's, for its length is the film's.
        out: the folder or file to write; rtn, rtn.pth, rtn.pt2 or rtn.onnx where not given.
        height: of the frames, for pt2 and onnx; a multiple of 16.
        width: of the frames; a multiple of 16.
        overwrite: replace what is there.
    """
    from shared_utils import files

    target = out or {"pretrained": "rtn", "published": "rtn.pth"}.get(to, f"rtn.{to}")
    files.refuse_existing(target, overwrite)

    from old_films_rtn import pretrained
    from old_films_rtn.export import export_restorer

    export_restorer(pretrained.load(ckpt), target, to, height, width)
    print(f"wrote {target}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)
