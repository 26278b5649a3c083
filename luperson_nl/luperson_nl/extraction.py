"""Features of pictures: from folders, lists, data sets, stores and the procedural street, in parts, to an ``.npz`` and back."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luperson_nl.data import market, tar_pictures, webdataset
from luperson_nl.data.image_lists import UNKNOWN, ImageList, find_images, image_list, read_image
from luperson_nl.retrieval import Features
from shared_utils import UserError, checkpoint, files
from shared_utils.work import Work

if TYPE_CHECKING:
    from luperson_nl.pretrained import Embedder

PART = 256  # pictures that are finished and kept together
READERS = 4  # threads that decode
_STORES = ("index.json", "keys.pkl")


@dataclass(frozen=True)
class Pictures:
    """Pictures to be embedded, with what is known of them.

    Args:
        read: the picture of a row, (h, w, 3) uint8 RGB.
        names: (n,) text.
        pid, camera, video, frame: (n,) int64, -1 where it is not known.
        query: (n,) bool, which ones ask; None where nothing says so.
        digest: of names and sizes, or of the store.
    """

    read: Callable[[int], np.ndarray]
    names: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    query: np.ndarray | None
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def features(self, array: np.ndarray | None = None) -> Features:
        """Their features; without values where None, for a check of what is known."""
        array = np.zeros((len(self), 0), np.float32) if array is None else array
        frame = self.frame if (self.frame >= 0).all() else None
        return Features(array, self.pid, self.camera, self.names, frame, self.video if frame is not None else None)

    def first(self, limit: int | None) -> Pictures:
        """The first ones, at most ``limit``."""
        if limit is None:
            return self
        if limit < 1:
            raise UserError(f"--limit must be at least 1, got {limit}")
        columns = (self.names, self.pid, self.camera, self.video, self.frame)
        query = None if self.query is None else self.query[:limit]
        return _pictures(self.read, [column[:limit] for column in columns], query, f"{self.digest} {limit}")


def _pictures(
    read: Callable[[int], np.ndarray], columns: Sequence[np.ndarray], query: np.ndarray | None, digest: str
) -> Pictures:
    names, pid, camera, video, frame = columns
    return Pictures(read, names, pid, camera, video, frame, query, digest)


def of_lists(*parts: ImageList, query: Sequence[bool] | None = None) -> Pictures:
    """Pictures of lists, one list after the other.

    Args:
        parts: the lists.
        query: of each list, whether it asks.

    Raises:
        UserError: a file is empty, or not there.
    """
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ImageList.__dataclass_fields__]
    paths = columns[0]
    content = hashlib.sha256()
    for path in paths.tolist():
        try:
            size = tar_pictures.size(path)
        except FileNotFoundError:
            raise UserError(f"{path} not found: check the data") from None
        if not size:
            raise UserError(f"{path} is empty (0 bytes): replace it, or take it out of the data")
        content.update(f"{path} {size}\n".encode())
    asks = None if query is None else np.repeat(np.array(query), [len(part) for part in parts])
    return _pictures(lambda row: read_image(str(paths[row])), columns, asks, content.hexdigest()[:16])


def of_files(paths: Iterable[Path]) -> Pictures:
    """Pictures of files; person, camera and frame where their names hold them as those of Market-1501 do."""
    rows = []
    for path in paths:
        pid, camera = market.identity_of(path) or (UNKNOWN, UNKNOWN)
        rows.append((str(path), pid, camera, *market.moment_of(path, camera)))
    return of_lists(image_list(rows))


def of_store(path: str | Path) -> Pictures:
    """Crops of a store: the true person where it is known, else the noisy identity."""
    from luperson_nl.data.store import open_store

    store = open_store(path)
    index = store.index
    numbers = [index.label if index.true is None else index.true, index.camera, index.video, index.frame]
    columns = [np.char.decode(np.asarray(index.key), "ascii"), *(np.asarray(each, dtype=np.int64) for each in numbers)]
    return _pictures(store.image, columns, None, store.digest)


def of_street() -> Pictures:
    """Query and gallery of the procedural street: persons that no default recipe trains on."""
    from luperson_nl.data.street import Street

    query, gallery = Street(seed=0).test()
    images = np.concatenate([query.images, gallery.images])
    names = np.array([f"street {row}" for row in range(len(images))])
    persons, cameras = (
        np.concatenate([getattr(part, each) for part in (query, gallery)]) for each in ("true", "cameras")
    )
    unknown = np.full(len(images), UNKNOWN)
    digest = hashlib.sha256(images.tobytes()).hexdigest()[:16]
    asks = np.arange(len(images)) < len(query)
    return Pictures(images.__getitem__, names, persons, cameras, unknown, unknown, asks, digest)


def is_store(path: str | Path) -> bool:
    """Whether a folder is a store of crops; shards of webdataset are a data set, with or without an index beside them."""
    from luperson_nl.data.store import foreign

    return not foreign.are_in(Path(path)) and any((Path(path) / name).is_file() for name in _STORES)


def of_data(data: str | Path | None) -> Pictures:
    """The pictures that a data set is evaluated on: query and gallery, or all of it where it has no such parts.

    Args:
        data: what ``market.read`` takes, or a store; the procedural street where None.
    """
    if data is None:
        return of_street()
    if is_store(data):
        return of_store(data)
    found = market.read(data)
    if len(found.query) or len(found.gallery):
        return of_lists(found.query, found.gallery, query=(True, False))
    return of_lists(found.train)


def of_anything(images: str | Path) -> Pictures:
    """A picture, a folder of pictures (in folders too), a CSV list, a data set, shards of webdataset, or a store."""
    path = Path(images)
    if is_store(path):
        return of_store(path)
    if path.is_file() and path.suffix.lower() != ".csv":
        return of_files([path])
    if path.is_file() or market.is_family(path) or webdataset.shards_of(path):
        return of_data(path)
    return of_files(find_images(path))


def job(embedder: Embedder, pictures: Pictures) -> dict[str, Any]:
    """What the features of pictures depend on (see ``shared_utils.work``)."""
    return {"model": model_digest(embedder), "pictures": pictures.digest}


def model_digest(embedder: Embedder) -> str:
    """16 hex digits of a model's weights and of what it does to a picture."""
    facts = f"{checkpoint.weights_digest(embedder)} {embedder.size} {embedder.mean} {embedder.std}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def extract(embedder: Embedder, pictures: Pictures, work: Work, batch_size: int = 64) -> list[str]:
    """Embed what is missing of the pictures, a part of 256 at a time, each rank its share; the parts' names.

    Raises:
        UserError: a picture is empty or cannot be read.
    """
    names = [f"features/{start:09d}" for start in range(0, len(pictures), PART)]

    def compute(pool: ThreadPoolExecutor, name: str) -> dict[str, np.ndarray]:
        start = int(Path(name).name)
        found = []
        for first in range(start, min(start + PART, len(pictures)), batch_size):
            rows = range(first, min(first + batch_size, start + PART, len(pictures)))
            found.append(embedder.embed(list(pool.map(pictures.read, rows)), batch_size))
        return {"features": np.concatenate(found)}

    with ThreadPoolExecutor(READERS) as pool:
        work.finish(names, partial(compute, pool), "embedding")
    return names


def features_of(work: Work, names: Sequence[str]) -> Iterator[np.ndarray]:
    """The features of the parts, in their order."""
    return (work.read(name)["features"] for name in names)


def write_features(out: str | Path, pictures: Pictures, parts: Iterator[np.ndarray], dim: int, model: str) -> None:
    """Write an ``.npz`` (see ``read_features``), part by part: the table of features is never held as a whole.

    Args:
        out: the file.
        pictures: what the features are of.
        parts: rows of features, all together one a picture.
        dim: their length.
        model: digest of the model.
    """
    columns = {"path": pictures.names, "pid": pictures.pid, "camera": pictures.camera, "video": pictures.video}
    columns |= {"frame": pictures.frame, "model": np.array(model)}
    if pictures.query is not None:
        columns["query"] = pictures.query
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(pictures), dim)}
    with files.replacing(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open("features.npy", "w", force_zip64=True) as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for part in parts:
                stream.write(np.ascontiguousarray(part, dtype="<f4").tobytes())
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, column, allow_pickle=False)


@dataclass(frozen=True)
class Stored:
    """Features of a file: ``query`` tells which ones ask (None: not said), ``model`` is the digest of theirs, or empty."""

    features: Features
    query: np.ndarray | None
    model: str


def read_features(path: str | Path) -> Stored:
    """Features of an ``.npz``.

    Needed is ``features`` (n, d). ``pid``, ``camera``, ``path``, ``video`` and ``frame`` (n,) may be missing (-1, or no
    names), and so may ``query`` (n,) bool, and ``model``.

    Raises:
        UserError: it is not such a file, or an array is missing or of another shape.
    """
    path = Path(path)
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it is a single array")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError(f"{path} not found: extract the features first") from None
    except (ValueError, OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not an .npz of plain arrays ({error}): write it with extract") from None
    if "features" not in arrays:
        raise UserError(
            f"{path} has no array 'features' (it has {', '.join(sorted(arrays)) or 'none'}): extract them again"
        )
    table = arrays["features"]
    if table.ndim != 2 or table.dtype.kind != "f":
        raise UserError(
            f"{path}: 'features' has the shape {table.shape} and the type {table.dtype}: needed is (n, d) float"
        )
    numbers: dict[str, Any] = {"pid": None, "camera": None, "video": None, "frame": None}
    for name in numbers:
        column = arrays.get(name)
        if column is not None and column.dtype.kind not in "iu":
            raise UserError(f"{path}: '{name}' is of the type {column.dtype}, needed are integers")
        numbers[name] = np.full(len(table), UNKNOWN) if column is None else column.astype(np.int64)
    query = arrays.get("query")
    if query is not None and (query.dtype != bool or query.shape != (len(table),)):
        raise UserError(
            f"{path}: 'query' has the shape {query.shape} and the type {query.dtype}: needed is ({len(table)},) bool"
        )
    if (numbers["frame"] < 0).any():
        numbers["frame"] = numbers["video"] = None
    try:
        features = Features(table, paths=arrays.get("path"), **numbers)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Stored(features, query, str(arrays.get("model", "")))
