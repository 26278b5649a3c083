"""T1, T2 and PD maps of a scan."""

import sys
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
    reference: str | None = None,
    unit_t: Literal["ms", "s"] | None = None,
    device: str = "auto",
    resume: bool = False,
    force: bool = False,
) -> None:
    """Reconstruct a scan, or every scan of a folder: maps.npz (ms), maps.png and report.json with the data consistency.

    Args:
        scan: scan.npz or .h5 (README, Data), or a folder of them, each of which gets a folder of its name in out.
        out: folder to write.
        method: unrolled, or a network trained beside it (unet, no_data_consistency); svd_mrf, low_rank, lrtv, pnp_admm,
            mrfresnet.
        ckpt: the network: a run's folder, a checkpoint of it, or an exported one; the travelling network where not given.
            Its schedule must be the scan's.
        dictionary: for classical methods, a dict.npz of the scan's schedule; built where not given.
        rank: components of a dictionary that is built.
        density: weights of the samples, instead of those in the scan.
        options: of a classical method, such as {lam: 0.003, iterations: 20}.
        gain: what the data are divided by for the network, PD multiplied by; chosen from the data where not given.
        reference: maps to compare with, for errors in the report and the picture.
        unit_t: ms or s, of the reference, where its file does not say.
        device: auto, cpu, cuda.
        resume: of a folder, leave out what is finished.
        force: replace what is in out.
    """
    from pathlib import Path

    from mrf_unroll import scans
    from mrf_unroll.files import refuse_existing
    from shared_utils import UserError, distributed
    from shared_utils.logging import progress

    if rank < 1 or (gain is not None and not gain > 0):
        raise UserError("rank must be at least 1, gain above 0")
    found = scans.find_scans(scan)
    folders = {path: Path(out) / path.stem if Path(scan).is_dir() else Path(out) for path in found}
    if not resume:
        for folder in folders.values():
            refuse_existing(folder / "report.json", force)
    with distributed.process_group():
        place = distributed.choose_device(device)
        if place.type == "mps":
            place = "cpu"  # trajectories are kept in double precision, which mps has not
        todo = [path for path in found if not (resume and scans.read_report(folders[path]))]
        for path in progress(distributed.share(todo), "reconstructing"):
            report = scans.reconstruct_scan(
                path,
                folders[path],
                method,
                ckpt,
                dictionary,
                rank,
                density,
                options,
                gain,
                reference,
                unit_t,
                place,
            )
            errors = "".join(
                f", {name} NRMSE {report['errors'][f'{name}_NRMSE']:.3f}"
                for name in ("T1", "T2", "PD")
                if "errors" in report
            )
            print(f"{path}: |Ax-y|/|y| = {report['data_consistency']:.4f}{errors}; wrote {folders[path]}")
        distributed.barrier()


def main(argv: list[str] | None = None) -> int:
    return cli.run(reconstruct, argv)


if __name__ == "__main__":
    sys.exit(main())
