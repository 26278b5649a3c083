"""Bring in what was released with PGD-Net or LRTV-MRFResNet."""

import sys

from shared_utils import cli


def import_checkpoint(
    src: str,
    bloch: str | None = None,
    alpha: list[float] | None = None,
    blocks: int = 2,
    out: str = "imported",
) -> None:
    """Import released weights into a folder (model.safetensors, config.json); nothing of the files is executed.

    The weights are valid only with their subspace V, mask and decoder amplitude, which were not released: the result is a
    Bloch decoder of (T1, T2) in s and an initialisation (model.initial_weights in training), no network for scans.

    Args:
        src: PGD_NET_Spiral_T_*.pt, or MRFResnet_AE.mat for its subspace and normalisation (subspace.npz).
        bloch: miccai_bloch_gen_*.pt, the Bloch decoder that belongs to it.
        alpha: step parameters, one an iteration, where the file has none.
        blocks: residual blocks that are run: the released weights were trained with 2, the published code runs 1.
        out: the folder to write.
    """
    from pathlib import Path

    from mrf_unroll import published

    if Path(src).suffix == ".mat":
        subspace = published.read_mrfresnet(src)
        path = Path(out) / "subspace.npz"
        published.write_subspace(subspace, path)
        print(
            f"subspace V {subspace.basis.shape}, {len(subspace.norm)} norms, scale {subspace.scale_s.tolist()} s, z-score of"
            f" {len(subspace.mean)} components\nthe two networks inside are MATLAB objects that only MATLAB can read: train"
            f" encoder {{name: mrfresnet}} instead\nwrote {path}"
        )
        return
    network, report = published.import_published(src, bloch, alpha, blocks)
    published.as_reconstructor(network).save_pretrained(out)
    steps = ", ".join(f"{step:.3g}" for step in network.steps().tolist())
    print(f"{report}\nT = {network.iterations}, steps {steps}; hidden width {network.encoder.rsb1.conv1.out_channels}")
    print("valid only with their own V, mask and decoder amplitude, which were not released: use as initialisation")
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(import_checkpoint, argv)


if __name__ == "__main__":
    sys.exit(main())
