"""Every method on the same measurements: one table, one figure."""

import sys
from typing import Any, Literal

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    methods: str = "all",
    maps: str | None = None,
    unit_t: Literal["ms", "s"] | None = None,
    protocol: dict[str, Any] = {},  # noqa: B006 (never changed)
    noise: float | None = None,
    sweep: str | None = None,
    limit: int | None = None,
    out: str = "runs/evaluation",
) -> None:
    """Compare methods on test slices that are measured anew, each from the whole EPG time series of its voxels.

    Args:
        ckpt: a run's folder, a checkpoint of it, or an exported folder; several with commas between them (seeds) are
            averaged, and the claim is judged. Without it, the network that travels with the package.
        methods: all, or names with commas between them: floor, svd_mrf, low_rank, lrtv, pnp_admm, mrfresnet, unrolled
            and the rivals that were trained beside it (unet, ...).
        maps: other anatomy to test on, a file or a folder of maps, brought to the network's image size; without it, the
            test split of the training's data.
        unit_t: ms or s, of these maps, where their file does not say.
        protocol: options of the acquisition that are not as in training, such as {samples: 32} or {trajectory: file.npz}.
            The networks are not trained again; classical methods are tuned again, on training slices so measured.
        noise: not as in training; over the mean of |y|.
        sweep: an option of the protocol (or noise) and its values, as samples:24,32,48,64: a table and a figure.
        limit: at most this many slices.
        out: folder to write.
    """
    from mrf_unroll import evaluation
    from shared_utils import UserError, distributed

    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1, got {limit}")
    if noise is not None and noise < 0:
        raise UserError(f"noise must not be negative, got {noise}")
    names = None if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    paths = [None] if ckpt is None else [path.strip() for path in ckpt.split(",")]
    changes: dict[str, Any] = {"protocol": protocol} | ({} if noise is None else {"noise": noise})
    with distributed.process_group():
        if sweep is not None:
            evaluation.sweep(paths[0], out, sweep, names, limit, maps, unit_t, **changes)
        else:
            evaluation.compare(paths, out, names, evaluation.real_slices(paths[0], maps, unit_t), limit, **changes)


def main(argv: list[str] | None = None) -> int:
    return cli.run(evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
