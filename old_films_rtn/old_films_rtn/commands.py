"""How the commands of this project are typed: ``restore.py film.mp4 -o restored.mp4 --mask-threshold 0.4``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from shared_utils import cli


def run(function: Callable[..., Any], argv: Sequence[str] | None = None) -> int:
    """``shared_utils.cli.run`` with required parameters given in order, ``-o`` for ``--out``, and dashes in the names of
    options where the function has underscores; the exit status."""
    arguments = []
    for argument in sys.argv[1:] if argv is None else argv:
        if argument == "-o":
            argument = "--out"
        elif argument.startswith("--"):
            name, equals, value = argument.partition("=")
            argument = "--" + name[2:].replace("-", "_") + equals + value
        arguments.append(argument)
    return cli.run(function, arguments, positional=True)
