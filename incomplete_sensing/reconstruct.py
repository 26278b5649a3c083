"""Reconstruct new measurements. No truth is needed, nor looked for."""

import sys

from shared_utils import cli


def reconstruct(
    measurements: str,
    out: str,
    ckpt: str | None = None,
    operators: str | None = None,
    regularisation: float = 0.01,
    panels: int = 6,
    batch_size: int = 64,
    device: str = "auto",
) -> None:
    """Reconstruct measurements: reconstructions.npz (x, g, residual) and a picture of the first ones.

    Args:
        measurements: an .npz with y (N, ...) and g (N,); or one multi-coil k-space in BART's .cfl/.hdr.
        out: folder to write.
        ckpt: the network: a run's folder, a checkpoint, or an imported one. Without it: SENSE for a multi-coil scan,
            whose coil maps are estimated from its own centre; A^+ y for what comes with operators.
        operators: a file of operators, instead of those of the checkpoint.
        regularisation: weight of ||x||^2 in SENSE, over the scale of the operator.
        panels: images in the picture.
        batch_size: measurements at once.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from incomplete_sensing import scans
    from shared_utils import UserError, distributed

    if batch_size < 1 or panels < 1 or regularisation < 0:
        raise UserError("batch_size and panels must be at least 1, regularisation at least 0")
    if Path(measurements).suffix in (".cfl", ".hdr"):
        if ckpt is not None:
            raise UserError("a single scan is reconstructed by SENSE: leave out --ckpt, or give measurements as .npz")
        residuals = scans.reconstruct_scan(measurements, Path(out), regularisation)
        for name, residual in residuals.items():
            print(f"{name}: ||A x - y|| / ||y|| = {residual:.4f}")
        print(f"wrote {Path(out) / 'reconstructions.npz'} and {Path(out) / 'panels.png'}")
        return
    with distributed.process_group():
        summary = scans.reconstruct_measurements(
            measurements, Path(out), ckpt, operators, panels, batch_size, distributed.choose_device(device)
        )
        if distributed.rank() == 0:
            print(f"{summary}\nwrote {Path(out) / 'reconstructions.npz'} and {Path(out) / 'panels.png'}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(reconstruct, argv)


if __name__ == "__main__":
    sys.exit(main())
