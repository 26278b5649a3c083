"""Text files of numbers, read so that whatever is wrong is named by file and line."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from shared_utils import UserError


def read_table(path: Path, max_rows: int | None = None) -> np.ndarray:
    """A text file of numbers as (rows, columns) float64: spaces or commas; empty lines and # comments are skipped.

    Args:
        path: the file.
        max_rows: stop early, without reading the rest.

    Raises:
        UserError: a value that is not a finite number, or a row of another length than the first; names file and line.
    """
    return parse_table(path, *read_lines(path, max_rows))


def read_lines(path: Path, max_lines: int | None = None) -> tuple[list[str], list[int]]:
    """Lines that say something, without comments and commas, and their numbers in the file."""

    def speaking(text: str) -> list[tuple[str, int]]:
        lines = text.replace(",", " ").splitlines()
        if "#" in text:
            lines = [line.partition("#")[0] for line in lines]
        return [(line, number) for number, line in enumerate(lines, 1) if line and not line.isspace()]

    with path.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read() if max_lines is None else "".join(islice(stream, max_lines))
        kept = speaking(text)
        if max_lines is not None and len(kept) < max_lines:
            text += stream.read()
            kept = speaking(text)[:max_lines]
    if text.lstrip()[:1] == "<":
        raise UserError(f"{path} is a web page or XML, not a table of points: the download failed, fetch it again")
    if "\0" in text:
        raise UserError(f"{path} is not a text file")
    if not kept:
        raise UserError(f"{path} is empty")
    return [line for line, _ in kept], [number for _, number in kept]


def parse_table(path: Path, lines: list[str], numbers: list[int]) -> np.ndarray:
    if not lines:
        return np.empty((0, 3))
    try:
        table = np.loadtxt(lines, dtype=np.float64, ndmin=2, comments=None)
    except ValueError:
        columns = len(lines[0].split())
        for line, number in zip(lines, numbers, strict=True):
            tokens = line.split()
            if len(tokens) != columns:
                raise UserError(f"{path}, line {number}: {len(tokens)} columns where {columns} are expected") from None
            for token in tokens:
                try:
                    float(token)
                except ValueError:
                    raise UserError(f"{path}, line {number}: {token!r} is not a number") from None
        raise
    bad = ~np.isfinite(table).all(1)
    if bad.any():
        raise UserError(f"{path}, line {numbers[int(bad.argmax())]}: NaN or infinite value")
    return table
