"""Contact sheets: a row of crops for every identity, to see at a glance what its tracks are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared_utils import files

CELL, GAP, MARGIN, LABEL = (
    (48, 96),
    4,
    12,
    150,
)  # pixels: (width, height) of a crop, between crops, around, for the text
RIGHT, WRONG, UNKNOWN = (30, 140, 60), (210, 40, 40), (150, 150, 150)


@dataclass(frozen=True)
class Row:
    """An identity. images: RGB uint8 of any size. text: lines beside them. right: of each image, whether it shows the
    identity's main person; None where that is not known."""

    images: Sequence[np.ndarray]
    text: Sequence[str]
    right: Sequence[bool] | None = None


def sheet(rows: Sequence[Row], title: str):
    """Draw rows of crops below each other, each crop whole in its cell; a frame is green for right and red for wrong.

    Returns:
        A Pillow image.
    """
    from PIL import Image, ImageDraw, ImageFont

    width, height = CELL
    columns = max((len(row.images) for row in rows), default=0)
    font = ImageFont.load_default(11)
    top = MARGIN + 18
    page = Image.new(
        "RGB", (2 * MARGIN + LABEL + columns * (width + GAP), top + len(rows) * (height + GAP) + MARGIN), "white"
    )
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN - 4), title, "black", ImageFont.load_default(13))
    for r, row in enumerate(rows):
        y = top + r * (height + GAP)
        pen.multiline_text((MARGIN, y + 4), "\n".join(row.text), "black", font, spacing=3)
        for c, image in enumerate(row.images):
            x = MARGIN + LABEL + c * (width + GAP)
            scale = min((width - 4) / image.shape[1], (height - 4) / image.shape[0])
            size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
            colour = UNKNOWN if row.right is None else RIGHT if row.right[c] else WRONG
            pen.rectangle((x, y, x + width - 1, y + height - 1), fill=(240, 240, 240), outline=colour, width=2)
            place = x + (width - size[0]) // 2, y + (height - size[1]) // 2
            page.paste(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), place)
    return page


def write(rows: Sequence[Row], folder: Path, title: str, per_sheet: int = 16) -> list[Path]:
    """Write ``sheet_01.jpg``, ... with so many identities each; the paths."""
    paths = []
    pages = math.ceil(len(rows) / per_sheet)
    for number in range(pages):
        path = folder / f"sheet_{number + 1:02d}.jpg"
        chosen = rows[number * per_sheet : (number + 1) * per_sheet]
        with files.replacing(path) as temporary:
            sheet(chosen, f"{title}, sheet {number + 1} of {pages}").save(temporary, format="jpeg", quality=90)
        paths.append(path)
    return paths
