"""A page of ranked pictures: one HTML file with every picture in it, so that it can be sent and opened anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from shared_utils import files

HEIGHT = 128  # pixels of a picture on the page
RIGHT, WRONG, PLAIN = "right", "wrong", "plain"

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff; }
section { display: flex; gap: 6px; overflow-x: auto; padding: .6em 0; border-top: 1px solid #ddd; }
figure { margin: 0; flex: none; width: 84px; }
figure:first-child { margin-right: 14px; }
figure img { display: block; width: 76px; height: 128px; object-fit: contain; border: 4px solid #999; background: #eee; }
.query img { border-color: #246; } .right img { border-color: #1a9641; } .wrong img { border-color: #d7191c; }
.cross img { border-style: double; border-width: 6px; width: 72px; height: 124px; }
figcaption { font-size: 11px; overflow-wrap: anywhere; }
.mark { font-weight: bold; } .right .mark { color: #1a9641; } .wrong .mark { color: #d7191c; }
h2 { font-size: 14px; margin: 1em 0 0; }
"""


@dataclass(frozen=True)
class Shown:
    """A picture of a ranking.

    Args:
        image: (h, w, 3) uint8 RGB.
        name: of the picture.
        note: a line below it.
        kind: ``right``, ``wrong``, or ``plain`` where nobody knows.
        cross_camera: it is right, and another camera's than the query's.
    """

    image: np.ndarray
    name: str
    note: str = ""
    kind: str = PLAIN
    cross_camera: bool = False


@dataclass(frozen=True)
class Ranking:
    """A query with its nearest pictures, nearest first; ``title`` stands above them."""

    title: str
    query: Shown
    nearest: list[Shown]


def write(path: str | Path, title: str, text: str, rankings: Iterable[Ranking]) -> None:
    """Write the page.

    Args:
        path: the file.
        title: of the page.
        text: a paragraph below it.
        rankings: from top to bottom; pictures are taken one ranking at a time.
    """
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8") as page:
        page.write(
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
            f"<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n<p>{html.escape(text)}</p>\n"
        )
        for ranking in rankings:
            page.write(f"<h2>{html.escape(ranking.title)}</h2>\n<section>\n{_figure(ranking.query, 'query', 'query')}")
            for place, shown in enumerate(ranking.nearest, 1):
                page.write(_figure(shown, f"{shown.kind} cross" if shown.cross_camera else shown.kind, f"{place}"))
            page.write("</section>\n")
        page.write("</html>\n")


def _figure(shown: Shown, classes: str, mark: str) -> str:
    words = {RIGHT: "right", WRONG: "wrong"}.get(shown.kind, "")
    words += ", other camera" if shown.cross_camera else ""
    name = html.escape(shown.name, quote=True)
    caption = " · ".join(filter(None, [words, html.escape(shown.note), html.escape(Path(shown.name).name)]))
    return (
        f'<figure class="{classes}"><img src="data:image/jpeg;base64,{_encoded(shown.image)}" alt="{name}" title="{name}">'
        f'<figcaption><span class="mark">{mark}</span> {caption}</figcaption></figure>\n'
    )


def _encoded(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    scale = min(1.0, HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    _, content = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return base64.b64encode(content.tobytes()).decode("ascii")
