"""Text files of numbers, read so that whatever is wrong is named by file and line."""

from __future__ import annotations

import codecs
import re
from itertools import islice
from pathlib import Path

import numpy as np

from shared_utils import UserError


def read_table(path: Path, max_rows: int | None = None) -> np.ndarray:
    """A text file of numbers as (rows, columns) float64; empty lines and # comments are skipped.

    Columns are parted by spaces, commas or semicolons; where they are parted by spaces or semicolons alone, a comma may be
    the decimal sign.

    Args:
        path: the file.
        max_rows: stop early, without reading the rest.

    Raises:
        UserError: a value that is not a finite number, or a row of another length than the first; names file and line.
    """
    return parse_table(path, *read_lines(path, max_rows))


def read_lines(path: Path, max_lines: int | None = None) -> tuple[list[str], list[int]]:
    """Lines that say something, without comments, spaces between columns, and their numbers in the file."""

    def speaking(text: str) -> list[tuple[str, int]]:
        lines = text.splitlines()
        if "#" in text:
            lines = [line.partition("#")[0] for line in lines]
        return [(line, number) for number, line in enumerate(lines, 1) if line and not line.isspace()]

    with path.open(encoding=encoding(path), errors="replace") as stream:
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
    return _parted(path, [line for line, _ in kept], [number for _, number in kept]), [number for _, number in kept]


def encoding(path: Path) -> str:
    """That of a text file, by its byte-order mark; UTF-8 where it has none."""
    with path.open("rb") as stream:
        marked = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if marked else "utf-8-sig"


_WHOLE_OR_COMMA = re.compile(r"[+-]?(\d+|\d*,\d+)([eE][+-]?\d+)?")
# A whole number that nobody writes: the half of a decimal number on one side of its comma.
_FRACTION = re.compile(r"0\d+|-0")
_THOUSANDS = re.compile(r"[+-]?\d+(\.\d+)+,\d+")


def _parted(path: Path, lines: list[str], numbers: list[int]) -> list[str]:
    """Lines with spaces between the columns, and points for decimal commas.

    ``1,5 2,5 3,5`` are three numbers: where no line has a point, and all columns are parted by something else.
    """
    if not any("," in line or ";" in line for line in lines):
        return lines
    rows = [line.replace(";", " ").split() for line in lines]
    for row, number in zip(rows, numbers, strict=True):
        if len(row) > 2 and any(map(_THOUSANDS.fullmatch, row)):
            raise UserError(
                f"{path}, line {number}: numbers with a point and a comma: write them with a decimal point alone"
            )
    # Headers, keywords and a count of the points decide nothing.
    words = [row for row in rows if row[0][:1] in "+-.,0123456789" and not (len(row) == 1 and row[0].isdigit())]
    decimal = not any("." in line for line in lines) and any("," in token for row in words for token in row)
    if decimal and all(len(row) > 2 and all(map(_WHOLE_OR_COMMA.fullmatch, row)) for row in words):
        return [" ".join(row).replace(",", ".") for row in rows]
    parted = [line.replace(",", " ").replace(";", " ") for line in lines]
    if not any("." in line for line in lines):
        for line, number in zip(parted, numbers, strict=True):
            if any(map(_FRACTION.fullmatch, line.split())):
                raise UserError(
                    f"{path}, line {number}: decimal commas, and commas between the columns too: save it with decimal points"
                )
    return parted


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
