"""Reconstruct new measurements; no truth is needed."""

from shared_utils import cli


def reconstruct(
    measurements: str,
    out: str,
    ckpt: str | None = None,
    operators: str | None = None,
    regularisation: float = 0.01,
    slice_number: int | None = None,
    panels: int = 6,
    batch_size: int = 64,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Reconstruct measurements: reconstructions.npz (x, g, residual) and a picture of the first ones.

    Args:
        measurements: an .npz with y (N, ...) and g (N,); or one multi-coil k-space in BART's .cfl/.hdr, or a
            multi-coil volume of fastMRI (.h5).
        out: folder to write.
        ckpt: the network: a run's folder, a checkpoint, an imported one, or a hub repository. Without it: SENSE for a
            multi-coil scan, whose coil maps are estimated from its own centre; A^+ y where --operators are given; else the
            bundled model.
        operators: a file of operators, instead of those of the checkpoint.
        regularisation: weight of ||x||^2 in SENSE, over the scale of the operator.
        slice_number: which slice of a volume; the middle one where not given.
        panels: images in the picture.
        batch_size: measurements at once.
        resume: continue a reconstruction of the same measurements that was interrupted.
        overwrite: replace an earlier one.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from incomplete_sensing import reconstruction
    from shared_utils import UserError, distributed

    if batch_size < 1 or panels < 1 or regularisation < 0:
        raise UserError("batch_size and panels must be at least 1, regularisation at least 0")
    wrote = f"wrote {Path(out) / reconstruction.RESULT} and {Path(out) / 'panels.png'}"
    if Path(measurements).suffix in (".cfl", ".hdr", ".h5"):
        if ckpt is not None:
            raise UserError("a single scan is reconstructed by SENSE: leave out --ckpt, or give measurements as .npz")
        residuals = reconstruction.reconstruct_scan(measurements, out, regularisation, slice_number, resume, overwrite)
        print("\n".join(f"{name}: ||A x - y|| / ||y|| = {residual:.4f}" for name, residual in residuals.items()))
        print(wrote)
        return
    with distributed.process_group():
        model = reconstruction.choose_model(ckpt, operators).to(distributed.choose_device(device))
        summary = reconstruction.reconstruct_measurements(
            model, measurements, out, panels, batch_size, resume, overwrite
        )
        if distributed.rank() == 0:
            print(f"{summary}\n{wrote}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(reconstruct, argv)
