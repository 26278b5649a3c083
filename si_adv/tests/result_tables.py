"""Tables that a command left, for the tests of several commands."""

import csv
from pathlib import Path


def table(folder):
    return list(csv.DictReader((Path(folder) / "table.csv").open()))


def stripped(folder):
    """The table without what is timed."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in table(folder)]
