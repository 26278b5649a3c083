"""Write a network in the form that others want."""

import sys

from old_films_rtn import commands


def export(ckpt: str, out: str, height: int = 256, width: int = 448) -> None:
    """Export a network by the ending of --out; what was written is read back and compared.

    .safetensors: the weights, as every command here takes them. .pth: a checkpoint that the published code loads (without
    RAFT; only of networks with its output, model.tanh_residual). .pt2 (torch.export) or .onnx (needs the extra "onnx"): a
    folder's worth of one step in one file: the network on the fused state and both directions' last states. The recurrence
    itself stays a loop of the caller's, for its length is the film's.

    Args:
        ckpt: a checkpoint, or the folder of a run.
        out: the file to write.
        height: of the frames, for .pt2 and .onnx; a multiple of 16.
        width: of the frames; a multiple of 16.
    """
    from old_films_rtn.export import export_network

    export_network(ckpt, out, height, width)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return commands.run(export, argv)


if __name__ == "__main__":
    sys.exit(main())
