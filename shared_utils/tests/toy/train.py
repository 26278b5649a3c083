"""A project in miniature, for the tests of the command line: fit a line to noisy points."""

import sys

from shared_utils import cli


def classes():
    from toy import Line, Points

    return Line, Points


def main(argv=None) -> int:
    return cli.train(
        classes,
        argv,
        links={"num_features": "num_features"},
        monitor=("val/loss", "min"),
    )


if __name__ == "__main__":
    sys.exit(main())
