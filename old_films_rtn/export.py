"""Write a network in the form that others want."""

import sys

from old_films_rtn import commands


def export(ckpt: str | None = None, out: str = "rtn.pt2", height: int = 256, width: int = 448) -> None:
    """Export a network by the ending of --out; what was written is read back and compared.

    .safetensors: the weights, as every command here takes them. .pth: a checkpoint in the published layout, without RAFT; only
    of networks with the published output (model.tanh_residual). .pt2 (torch.export) or .onnx (needs the extra "onnx"):
    transformers and decoder, from a frame and both fused states to the restored frame and both new states; the recurrence
    stays a loop of the caller's, for its length is the film's.

    Args:
        ckpt: a checkpoint, or the folder of a run; the network that comes with the package where not given.
        out: the file to write.
        height: of the frames, for .pt2 and .onnx; a multiple of 16.
        width: of the frames; a multiple of 16.
    """
    from old_films_rtn import published
    from old_films_rtn.export import export_network

    export_network(ckpt or published.TRAVELLING, out, height, width)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return commands.run(export, argv)


if __name__ == "__main__":
    sys.exit(main())
