"""The nearest pictures of a gallery to those of a query."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luperson_nl import extraction, ranking_page
from luperson_nl.data.image_lists import read_image
from luperson_nl.extraction import READERS, Pictures
from luperson_nl.retrieval import Cosine, Features, nearest
from shared_utils import UserError, logging

if TYPE_CHECKING:
    from luperson_nl.pretrained import Embedder

BATCH = 64


@dataclass(frozen=True)
class Gallery:
    """What is searched: features that are there already, or pictures to be embedded.

    Args:
        names: (n,) text.
        read: the picture of a row.
        array: (n, d) features; None where they have to be made.
        model: digest of the model of the features; empty where it is not known.
    """

    names: np.ndarray
    read: Callable[[int], np.ndarray]
    array: np.ndarray | None = None
    model: str = ""


@dataclass(frozen=True)
class Found:
    """A picture of the query with the nearest of the gallery: rows and distances, nearest first."""

    query: int
    name: str
    rows: np.ndarray
    distances: np.ndarray
    names: list[str]

    def table(self) -> list[dict[str, object]]:
        """Rows to print."""
        listed = zip(self.distances.tolist(), self.names, strict=True)
        return [{"rank": rank, "distance": value, "picture": name} for rank, (value, name) in enumerate(listed, 1)]


def open_gallery(gallery: str | Path, limit: int | None = None) -> Gallery:
    """A gallery of pictures (see ``extraction.of_anything``), or the ``.npz`` of one.

    Raises:
        UserError: it is not there, or holds no names.
    """
    if Path(gallery).suffix.lower() != ".npz":
        pictures = extraction.of_anything(gallery).first(limit)
        return Gallery(pictures.names, pictures.read)
    stored = extraction.read_features(gallery)
    features = stored.features.normalised()
    if features.paths is None:
        raise UserError(f"{gallery} has no array 'path', so that nothing can be shown: write it with extract")
    names = features.paths[:limit]
    return Gallery(names, lambda row: read_image(str(names[row])), features.array[:limit], stored.model)


def search(embedder: Embedder, query: Pictures, gallery: Gallery, top: int = 10) -> list[Found]:
    """The nearest pictures to each of the query. The same file is not found by itself.

    Raises:
        UserError: the features of the gallery are of another model.
    """
    if gallery.array is not None and gallery.model not in ("", extraction.model_digest(embedder)):
        raise UserError("the gallery's features are of another model: give that one with --ckpt, or extract them again")
    array = gallery.array
    if array is None:
        array = embed(embedder, gallery.read, len(gallery.names))
    asked = Features(embed(embedder, query.read, len(query)), query.pid, query.camera, query.names)
    if asked.array.shape[1] != array.shape[1]:
        raise UserError(
            f"the model gives {asked.array.shape[1]} numbers, the gallery's features have {array.shape[1]}: give their "
            "model with --ckpt"
        )
    distances = Cosine(asked.normalised().array, array)
    found = []
    for row in range(len(query)):
        its = distances.of(slice(row, row + 1))
        own = gallery.names == query.names[row]
        its[0, own] = np.inf
        column, value = nearest(its, min(top, int((~own).sum())))
        found.append(Found(row, str(query.names[row]), column[0], value[0], [str(gallery.names[i]) for i in column[0]]))
    return found


def embed(embedder: Embedder, read: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    """Features of pictures, (count, d)."""
    parts = [np.zeros((0, embedder.num_features), np.float32)]
    with ThreadPoolExecutor(READERS) as pool:
        for start in logging.progress(range(0, count, BATCH), "embedding"):
            images = list(pool.map(read, range(start, min(start + BATCH, count))))
            parts.append(embedder.embed(images, BATCH))
    return np.concatenate(parts)


def write_page(found: list[Found], query: Pictures, gallery: Gallery, path: str | Path) -> None:
    """A page of what was found."""
    rankings = (
        ranking_page.Ranking(
            one.name,
            ranking_page.Shown(query.read(one.query), one.name),
            [
                ranking_page.Shown(gallery.read(int(row)), name, f"{value:.3f}")
                for row, name, value in zip(one.rows, one.names, one.distances, strict=True)
            ],
        )
        for one in found
    )
    text = f"The nearest of {len(gallery.names)} pictures to each of {len(query)}, nearest first, with 1 - cosine."
    ranking_page.write(path, "Search", text, rankings)
