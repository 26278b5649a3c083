"""How many dimensions has a data set: the k that conditions.py asks for."""

import sys

from shared_utils import cli


def estimate_dimension(
    data: str, neighbours: list[int] | None = None, limit: int = 5000, out: str | None = None
) -> None:
    """Estimate the dimension k of a data set by nearest neighbours, with an interval.

    Args:
        data: .npy or .npz, (N, n) or images (N, H, W).
        neighbours: of the likelihood estimates; [5, 10, 20] where not given.
        limit: at most this many samples, evenly taken.
        out: a picture (.png) of the estimates.
    """
    from incomplete_sensing.calculator import read_signals
    from incomplete_sensing.dimension import estimate_dimension as estimate
    from shared_utils import UserError, logging

    counts = tuple(neighbours or (5, 10, 20))
    if min(counts) < 2 or limit < 3:
        raise UserError(f"neighbours = {list(counts)}, limit = {limit}: at least 2 neighbours and 3 samples are needed")
    signals = read_signals(data)
    signals = signals[:: -(-len(signals) // limit)]
    found = estimate(signals, counts)
    print(
        logging.table(
            [{"method": name, "k": value, "standard error": error} for name, value, error in found.rows],
            f"{len(signals)} samples of {signals.shape[1]} entries",
        )
    )
    print(f"\nk = {found.k:.1f}, in [{found.low:.1f}, {found.high:.1f}] (methods and 95 % sampling error)")
    print("nearest neighbours read low where k is large and samples are few; only samples of the signals tell k")
    print(f"next: python conditions.py --n {signals.shape[1]} --m M --G G --data {data}")
    if out is not None:
        from incomplete_sensing import figures

        figures.dimension_estimates(out, found.rows, found.k, found.low, found.high)
        print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(estimate_dimension, argv)


if __name__ == "__main__":
    sys.exit(main())
