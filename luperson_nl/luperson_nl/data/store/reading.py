"""Opening a store of crops: ours in any format, whole or half built, the authors' LMDB with keys.pkl, shards of webdataset."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl.data.decoding import decode
from luperson_nl.data.store import authors, foreign, parts
from luperson_nl.data.store import index as index_files
from luperson_nl.data.store.backends import LMDB, READERS, LmdbReader, Reader
from luperson_nl.data.store.index import Index
from shared_utils import UserError

log = logging.getLogger(__name__)
SAMPLED = 32  # crops whose bytes tie an index to its data


class Store:
    """Crops on disk and their index. Cheap to copy into workers: what is pickled is the path.

    Attributes:
        index: the columns, memory-mapped (``Index``).
        path: the folder.
        format: lmdb, shards, folder or webdataset.
    """

    def __init__(self, path: Path, index: Index) -> None:
        self.path, self.index = path, index
        self.format: str = index.summary["format"]
        self._reader: Reader = READERS[self.format](path)

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (str(self.path), False)

    @property
    def num_classes(self) -> int:
        """How many noisy identities there are."""
        return self.index.num_classes

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of the red, green and blue of the pixels, in [0, 1]."""
        return tuple(self.index.summary["mean"])

    @property
    def std(self) -> tuple[float, float, float]:
        """Of the red, green and blue of the pixels, in [0, 1]."""
        return tuple(self.index.summary["std"])

    @property
    def digest(self) -> str:
        """16 hex digits that stand for the content in a job's description."""
        return self.index.summary["digest"]

    def key(self, i: int) -> str:
        return self.index.key[i].decode()

    def encoded(self, i: int) -> bytes:
        """The file of crop i as it was stored (JPEG as a rule).

        Raises:
            UserError: it is not there, or empty.
        """
        found = self._reader.get(self.index, i)
        if not found:
            problem = "missing" if found is None else "empty"
            raise UserError(f"{self.path}: crop {self.key(i)} is {problem}: restore the store, or build it again")
        return found

    def image(self, i: int) -> np.ndarray:
        """Crop i, RGB uint8 (height, width, 3).

        Raises:
            UserError: it is not there, empty, or not a whole image.
        """
        content = self.encoded(i)
        image = decode(content) if is_whole(content) else None
        if image is None:
            raise UserError(
                f"{self.path}: crop {self.key(i)} is not a whole image: restore the store, or build it again"
            )
        return image


def is_whole(content: bytes) -> bool:
    """Whether a JPEG has its end: decoders fill the rest of one that was cut off with grey."""
    return bool(content) and (content[:2] != b"\xff\xd8" or content.rfind(b"\xff\xd9", -1024) >= 0)


def open_store(path: str | Path, check: bool = True) -> Store:
    """Open the crops of ``build_dataset`` or ``convert_store``, the authors' ``lmdb/`` with ``keys.pkl``, or webdataset's shards.

    A store whose building was stopped opens with the videos that are finished; a warning says how many.

    Args:
        path: the folder of the store (or the ``lmdb`` folder in it).
        check: compare a few crops with what the index remembers of them.

    Raises:
        UserError: it is not a store, its index is missing, damaged, or of other data.
    """
    folder = Path(path)
    if (folder / "data.mdb").is_file():
        folder = folder.absolute().parent
    if not folder.is_dir():
        raise UserError(f"{folder} not found: give the folder that build_dataset or convert_store wrote")
    if (folder / authors.KEYS).is_file():
        found = _kept(folder, authors)
    elif foreign.are_in(folder):
        found = _kept(folder, foreign)
    elif (folder / index_files.SUMMARY).is_file():
        found = index_files.read(folder)
    elif (folder / parts.DESCRIPTION).is_file():
        found = parts.read_unfinished(folder)
    elif (folder / LMDB / "data.mdb").is_file():
        raise UserError(
            f"{folder / LMDB} has no index: neither {authors.KEYS} (of the published data) nor {index_files.SUMMARY} (of "
            f"build_dataset) is in {folder}; copy there the one that belongs to it"
        )
    else:
        raise UserError(
            f"{folder} is not a store: it has neither {index_files.SUMMARY} nor {authors.KEYS} with {LMDB}/, nor shards; make "
            "one with build_dataset, or from a folder of images with convert_store"
        )
    store = Store(folder, found)
    if check:
        _check(store)
    if "digest" not in found.summary:
        found.summary.update(describe(store))
        if "source" in found.summary:
            _keep(folder, found)
    return store


def _kept(folder: Path, layout: Any) -> Index:
    """The index of a layout of other people, the arrays that were made of it if they are there."""
    if (folder / index_files.SUMMARY).is_file():
        found = index_files.read(folder)
        if found.summary.get("source") == layout.source(folder):
            return found
    return layout.read(folder)


def _keep(folder: Path, index: Index) -> None:
    """Keep arrays beside data of other people, so that they are read through once and not by every process."""
    try:
        index_files.write(folder, index, index.summary)
    except OSError as error:
        log.warning("%s: its index cannot be kept (%s): it is made again each time", folder, error.strerror)


def describe(store: Store) -> dict[str, Any]:
    """What the summary of an index says of the data: pixel statistics and digests."""
    mean, deviation = pixel_statistics(store)
    return {
        "mean": mean,
        "std": deviation,
        "digest": index_files.digest(store.index),
        "sample": sample_digest(store),
    }


def sample_digest(store: Store) -> str:
    """16 hex digits of the bytes of a few crops, evenly spread: ties an index to its data at the cost of a few reads.

    Raises:
        UserError: one of them is missing.
    """
    content = hashlib.sha256()
    for i in np.unique(np.linspace(0, len(store) - 1, min(len(store), SAMPLED)).astype(int)):
        content.update(bytes(store.index.key[i]))
        found = store._reader.get(store.index, int(i))
        if found is None:
            raise UserError(
                f"{store.path}: crop {store.key(int(i))} is missing: its index is of other data; restore its own"
            )
        content.update(found)
    return content.hexdigest()[:16]


def _check(store: Store) -> None:
    summary = store.index.summary
    if isinstance(store._reader, LmdbReader) and store._reader.entries() < len(store):
        entries = store._reader.entries()
        raise UserError(
            f"{store.path / LMDB} has {entries} entries, its index {len(store)}: the index is of another LMDB; restore the "
            "one that belongs to it"
        )
    if len(store) and summary.get("sample") and sample_digest(store) != summary["sample"]:
        again = (
            f"; if the data was replaced on purpose, delete {index_files.SUMMARY} so that {authors.KEYS} is read again"
        )
        raise UserError(
            f"{store.path / index_files.SUMMARY} is the index of other data (hash of {SAMPLED} crops): restore the one that "
            f"belongs to it{again if (store.path / authors.KEYS).is_file() else ''}"
        )


def pixel_statistics(store: Store, most: int = 2048) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of red, green and blue in [0, 1], every crop with the same weight.

    Args:
        store: the crops.
        most: over so many crops at most, evenly spread.
    """
    sums = np.zeros((2, 3))
    chosen = np.unique(np.linspace(0, len(store) - 1, min(len(store), most)).astype(int))
    read = 0
    for i in chosen:
        try:
            pixels = store.image(int(i)).reshape(-1, 3) / 255.0
        except UserError as error:
            log.warning("%s", error)
            continue
        sums += [pixels.mean(0), (pixels**2).mean(0)]
        read += 1
    mean, square = sums / max(read, 1)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return [round(float(value), 4) for value in mean], [round(float(value), 4) for value in deviation]
