"""Estimate how many dimensions a data set has: the k that conditions asks for."""

from shared_utils import cli


def estimate_dimension(
    data: str,
    neighbours: list[int] | None = None,
    limit: int | None = 5000,
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Estimate the dimension k of a data set by nearest neighbours, with an interval.

    Args:
        data: .npy or .npz, (N, n) or images (N, H, W).
        neighbours: of the likelihood estimates; [5, 10, 20] where not given.
        limit: at most this many samples, evenly taken.
        out: a picture (.png, .pdf, .svg, .jpg) of the estimates.
        overwrite: replace it where it exists.
    """
    from incomplete_sensing.data.arrays import read_signals
    from incomplete_sensing.dimension import estimate_dimension as estimate
    from shared_utils import UserError, files, logging

    counts = tuple(neighbours or (5, 10, 20))
    if min(counts) < 2 or (limit is not None and limit < 3):
        raise UserError(f"neighbours = {list(counts)}, limit = {limit}: at least 2 neighbours and 3 samples are needed")
    if out is not None:
        files.refuse_existing(out, overwrite)
    signals = read_signals(data)
    signals = signals[:: -(-len(signals) // limit)] if limit else signals
    found = estimate(signals, counts)
    rows = [{"method": name, "k": value, "standard error": error} for name, value, error in found.rows]
    print(logging.table(rows, f"{len(signals)} samples of {signals.shape[1]} entries"))
    print(f"\nk = {found.k:.1f}, in [{found.low:.1f}, {found.high:.1f}] (methods and 95 % sampling error)")
    print("nearest neighbours read low where k is large and samples are few; only samples of the signals show k")
    print(f"next: {cli.command('conditions')} --n {signals.shape[1]} --m M --G G --data {data}")
    if out is not None:
        from incomplete_sensing import figures

        figures.dimension_estimates(out, found.rows, found.k, found.low, found.high)
        print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(estimate_dimension, argv)
