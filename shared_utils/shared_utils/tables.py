"""Tables of results (printed, CSV, Markdown), the metrics of a run, and saving figures. Part of ``shared_utils.logging``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared_utils import UserError
from shared_utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".pdf": "pdf", ".svg": "svg"}


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Any, missing: str) -> str:
    if value is None:
        return missing
    if not isinstance(value, Real) or isinstance(value, Integral):
        return str(value)
    value = float(value)
    if value and abs(value) < 1e-3:
        return f"{value:.3e}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> str:
    """Rows as an aligned text table; numbers with four significant digits, what is missing or None as a dash.

    >>> print(table([{"attack": "ifgm", "l2": 0.53104}]))
    attack      l2
    ifgm    0.5310
    """
    names = _columns(rows)
    cells = [names, *([_cell(row.get(name), "-") for name in names] for row in rows)]
    columns = []
    for column, name in zip(zip(*cells, strict=True), names, strict=True):
        width = max(map(len, column))
        left = all(isinstance(row.get(name), str) for row in rows)
        columns.append([text.ljust(width) if left else text.rjust(width) for text in column])
    lines = ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]
    return "\n".join([title, *lines] if title else lines)


def write_table(rows: Sequence[Mapping[str, Any]], stem: str | Path) -> tuple[Path, Path]:
    """Write ``stem.csv`` with every digit and ``stem.md`` rounded as ``table`` does, each whole or not at all.

    Args:
        rows: dictionaries; a row without one of the columns has an empty cell there.
        stem: path of both files without their endings; the folder is made where it is missing.

    Returns:
        The paths of the two files.
    """
    stem = Path(stem)
    names = _columns(rows)
    as_csv, as_markdown = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.md")
    with replacing(as_csv) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    numeric = [not all(isinstance(row.get(name), str) for row in rows) for name in names]
    lines = [names, ["---:" if right else "---" for right in numeric]]
    lines += [[_cell(row.get(name), "").replace("|", r"\|").replace("\n", " ") for name in names] for row in rows]
    with replacing(as_markdown) as temporary:
        temporary.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines))
    return as_csv, as_markdown


def read_metrics(folder: str | Path) -> list[dict[str, str]]:
    """The rows of a run's ``metrics.csv`` as they stand in it: name -> text, empty where a row has no such metric.

    Args:
        folder: the run's folder, ``runs/<name>/version_N``, or the file itself.

    Returns:
        The rows; none where the run kept no such file (it logged elsewhere). A last row that a kill has cut off is
        left out.
    """
    path = Path(folder)
    path = path / "metrics.csv" if path.is_dir() else path
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]


def save_figure(figure: Figure, path: str | Path, dpi: int = 150, colours: int | None = None) -> Path:
    """Write a figure of matplotlib, whole or not at all, and close it; the same figure gives the same bytes.

    Args:
        figure: made by ``Figure(...)`` or by pyplot.
        path: its ending chooses the kind: .png, .jpg, .jpeg, .pdf or .svg. The folder is made where it is missing.
        dpi: dots per inch of a PNG or JPEG.
        colours: a PNG may be reduced to a palette of that many colours (2 to 256), a third of its size. One that has no
            colour at all is stored as grey in any case.

    Returns:
        The path.

    Raises:
        UserError: another ending.
    """
    path = Path(path)
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: a figure is saved as {', '.join(KINDS)}, by the ending of its name")
    import matplotlib

    content = io.BytesIO()
    # Neither the date nor the version of matplotlib, and element ids from a fixed seed.
    metadata = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "svg": {"Date": None, "Creator": None},
    }
    with matplotlib.rc_context({"svg.hashsalt": "figure"}):
        if kind in metadata:
            figure.savefig(content, format=kind, facecolor="white", metadata=metadata[kind])
        else:
            figure.savefig(content, format="png", facecolor="white", dpi=dpi)
    if kind not in metadata:
        content = _raster(content, kind, dpi, colours)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())
    # Only pyplot keeps its figures alive; where it was never imported there is nothing to close.
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)
    return path


def _raster(drawn: io.BytesIO, kind: str, dpi: int, colours: int | None) -> io.BytesIO:
    """What matplotlib has drawn, as small as the kind allows without a visible difference."""
    from PIL import Image, ImageChops

    image = Image.open(drawn).convert("RGB")
    red, green, blue = image.split()
    if not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(red, blue).getbbox():
        image = red
    elif colours is not None and kind == "png":
        image = image.quantize(colours)
    content = io.BytesIO()
    options: dict[str, Any] = {"quality": 92, "subsampling": 0} if kind == "jpeg" else {}
    image.save(content, format=kind, optimize=True, dpi=(dpi, dpi), **options)
    return content
