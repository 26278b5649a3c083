"""`python -m av_deepfake COMMAND ...`."""

import sys

from shared_utils import cli


def main(argv: list[str] | None = None) -> int:
    """Run a command of the project by its name; the exit status."""
    return cli.project("av_deepfake", argv)


if __name__ == "__main__":
    sys.exit(main())
