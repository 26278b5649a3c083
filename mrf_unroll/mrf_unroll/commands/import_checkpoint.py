"""Import what was released with PGD-Net or LRTV-MRFResNet."""

from shared_utils import cli


def import_checkpoint(
    file: str,
    out: str,
    bloch: str | None = None,
    alpha: list[float] | None = None,
    blocks: int = 2,
    overwrite: bool = False,
) -> None:
    """Import released weights into a folder (model.safetensors, config.json); nothing of the files is executed.

    The weights are valid only with their subspace V, mask and decoder amplitude, which were not released: the result is a
    Bloch decoder of (T1, T2) in s and an initialisation (model.initial_weights in training), not a network for scans.

    Args:
        file: PGD_NET_Spiral_T_*.pt, or MRFResnet_AE.mat for its subspace and normalisation (subspace.npz).
        out: the folder to write.
        bloch: miccai_bloch_gen_*.pt, the Bloch decoder that belongs to it.
        alpha: step parameters, one an iteration, where the file has none.
        blocks: residual blocks that are run: the released weights were trained with 2, the published code runs 1.
        overwrite: write into a folder that exists.
    """
    from pathlib import Path

    from mrf_unroll import published
    from shared_utils import files

    files.refuse_existing(out, overwrite)
    if Path(file).suffix == ".mat":
        subspace = published.read_mrfresnet(file)
        path = Path(out) / "subspace.npz"
        published.write_subspace(subspace, path)
        print(
            f"subspace V {subspace.basis.shape}, {len(subspace.norm)} norms, scale {subspace.scale_s.tolist()} s, z-score of"
            f" {len(subspace.mean)} components\nthe two networks inside are MATLAB objects that only MATLAB can read: train"
            f" encoder {{name: mrfresnet}} instead\nwrote {path}"
        )
        return
    network, report = published.import_published(file, bloch, alpha, blocks)
    reconstructor = published.as_reconstructor(network)
    reconstructor.save_pretrained(out)
    steps = ", ".join(f"{step:.3g}" for step in network.steps().tolist())
    print(
        f"{report}\nT = {network.iterations}, steps {steps}; hidden width {reconstructor.options['encoder']['hidden']}"
    )
    print("valid only with their own V, mask and decoder amplitude, which were not released: use as initialisation")
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
