"""Compare every method on the same measurements: one table, one figure."""

from typing import Any, Literal

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    methods: str = "all",
    data: str | None = None,
    unit_t: Literal["ms", "s"] | None = None,
    protocol: dict[str, Any] = {},  # noqa: B006 (never changed)
    noise: float | None = None,
    sweep: str | None = None,
    limit: int | None = None,
    out: str = "runs/evaluation",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Compare methods on test slices that are measured anew, each from the whole EPG time series of its voxels.

    Args:
        ckpt: a run's folder, a checkpoint of it, an exported folder, or a hub id; several with commas between them (seeds)
            are averaged. Without it, the network that is bundled with the package.
        methods: all, or names with commas between them: floor, svd_mrf, low_rank, llr, lrtv, pnp_admm, mrfresnet, unrolled
            and the baselines that were trained beside it (unet, ...).
        data: other anatomy to test on: a file or a folder of maps, brought to the network's image size; discs, tissue from
            all over the plane of T1 and T2; heads, of seven listed tissues. Without it, the test split of the training's
            data.
        unit_t: ms or s, of these maps, where their file does not declare it.
        protocol: options of the acquisition that are not as in training, such as {samples: 32} or {trajectory: file.npz}.
            The networks are not trained again; classical methods are tuned again, on training slices so measured.
        noise: not as in training; over the mean of |y|.
        sweep: an option of the protocol (or noise) and its values, as samples:24,32,48: a table and a figure.
        limit: at most this many slices.
        out: folder to write.
        resume: continue the same job: slices that are finished are not done again.
        overwrite: begin again although out exists.
    """
    from mrf_unroll import evaluation
    from mrf_unroll.claim import verdict
    from shared_utils import UserError, distributed, work

    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1, got {limit}")
    if noise is not None and noise < 0:
        raise UserError(f"noise must not be negative, got {noise}")
    names = None if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    sources = [None] if ckpt is None else [path.strip() for path in ckpt.split(",")]
    changes: dict[str, Any] = {"protocol": protocol} | ({} if noise is None else {"noise": noise})
    with distributed.process_group():
        slices = evaluation.real_slices(sources[0], data, unit_t, (protocol or {}).get("image_size"))
        job = evaluation.describe(sources, names, data, unit_t, changes, sweep, limit)
        with work.begin(out, job, resume=resume, overwrite=overwrite) as parts:
            if sweep is not None:
                report = evaluation.sweep(sources[0], out, sweep, names, slices, limit, parts, changes)
            else:
                comparison = evaluation.compare(sources, out, names, slices, limit, parts, changes)
                report = f"{comparison}\n{verdict(comparison)}".rstrip()
            parts.complete()
        if distributed.rank() == 0:
            print(f"{report}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
