"""Reconstruct T1, T2 and PD maps of a scan, or of a folder of scans."""

from typing import Any, Literal

from shared_utils import cli


def reconstruct(
    scan: str,
    out: str,
    method: str = "unrolled",
    ckpt: str | None = None,
    dictionary: str | None = None,
    rank: int = 10,
    density: Literal["spiral", "radial", "pipe_menon", "none"] | None = None,
    options: dict[str, Any] = {},  # noqa: B006 (never changed)
    gain: float | None = None,
    coils: int | None = None,
    reference: str | None = None,
    unit_t: Literal["ms", "s"] | None = None,
    seq: str | None = None,
    b1: str | None = None,
    grid: str = "100x100",
    phantom: str | None = None,
    also: str = "",
    kernels: str | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Reconstruct a scan, or every scan of a folder: maps.npz (ms) with deviations, maps.png and report.json.

    Args:
        scan: scan.npz, .h5 or ISMRMRD (README, Data), or a folder of them, each of which gets a folder of its name in out.
        out: folder to write.
        method: unrolled, or a network trained beside it (unet, no_data_consistency); svd_mrf, low_rank, llr, lrtv; pnp_admm
            and mrfresnet, whose networks are trained beside it too.
        ckpt: the network: a run's folder, a checkpoint of it, an exported folder, or a hub id; the bundled network where
            not given. Its schedule must be the scan's.
        dictionary: for classical methods, a dict.npz of the scan's schedule; built where not given.
        rank: components of a dictionary that is built.
        density: weights of the samples, instead of those in the scan.
        options: of a classical method, such as {lam: 0.003, iterations: 20, refine: true} (T1 and T2 off the grid).
        gain: what the data are divided by for the network, PD multiplied by; chosen from the data where not given.
        coils: reduce the scan to so many virtual coils first, which is faster.
        reference: maps to compare with, for errors in the report and the picture; its PD, in any unit, is scaled to fit.
        unit_t: ms or s, of the reference, where its file does not declare it.
        seq: a Pulseq .seq with the schedule and trajectory of an ISMRMRD scan.
        b1: a file with the relative transmit field B1 of every voxel, for matching (svd_mrf, low_rank, llr, lrtv).
        grid: T1 and T2 of a dictionary that is built: 370x370 (logarithmic steps) or jiang.
        phantom: a CSV of vials with known T1 and T2 (columns vial, row, column, radius, T1_ms, T2_ms) to compare with.
        also: further outputs with commas between: nifti, dicom, series (the time series).
        kernels: a folder where what the operators of an acquisition need is kept, so that later commands build nothing.
        device: auto, cpu, cuda.
        resume: continue the same job: what is finished is not done again.
        overwrite: begin again although out exists.
    """
    from mrf_unroll.reconstruction import Settings
    from mrf_unroll.scan_folders import reconstruct_scans
    from shared_utils import distributed, lists

    settings = Settings(
        method,
        ckpt,
        dictionary,
        rank,
        grid,
        density,
        options,
        gain,
        coils,
        reference,
        unit_t,
        seq,
        b1,
        phantom,
        kernels,
        lists.names(also),
    )
    with distributed.process_group():
        place = distributed.choose_device(device)
        if place.type == "mps":
            place = "cpu"  # trajectories are kept in double precision, which mps has not
        reports = reconstruct_scans(scan, out, settings, place, resume, overwrite)
        if distributed.rank() == 0:
            for report in reports:
                errors = report.get("errors", {})
                listed = [f"{name} NRMSE {errors[f'{name}_NRMSE']:.3f}" for name in ("T1", "T2", "PD") if errors]
                print(f"{report['scan']}: {', '.join([report['verdict'], *listed])}")
            print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(reconstruct, argv)
