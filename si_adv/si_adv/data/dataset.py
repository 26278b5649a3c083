"""What every data set on disk has in common: clouds of one split, and a cache for layouts that are slow to parse.

Slow layouts (text, meshes) can be parsed once into a cache: one array file a split, in ``cache_dir``
(``~/.cache/si_adv`` by default), never in the user's folder; the cache is keyed by the files' names, sizes and times, so
a changed data set is parsed anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from shared_utils import UserError
from si_adv.data.sample import Geometry, Sample, complete_normals, prepare_cloud
from si_adv.data.text import read_table

log = logging.getLogger(__name__)

DEFAULT_CACHE = "~/.cache/si_adv"


@cache
def _log_estimated(root: str) -> None:
    """Logged once a data set, however often it is opened."""
    log.info("%s: normals that are not stored are estimated from the 20 nearest points", root)


class CloudDataset(Dataset[Sample]):
    """Clouds of one split of a layout; a subclass says how they are found (``_open``) and read (``_read``).

    Args:
        root: the folder or file.
        split: ``train``, ``val`` or ``test``.
        num_points: the first N rows are taken.
        normals: ``False`` leaves the field ``normals`` of the samples empty; ``True`` estimates those that are not stored,
            once, and keeps them in memory.
        seed: of what is drawn (points on meshes, rows of ShapeNetPart).
        allow_upsample: repeat the points of smaller clouds.
        skip_corrupt: log and count a sample that cannot be used, and take the next sound one in its place; otherwise it
            raises UserError.
        cache_dir: of ``CachedDataset``; None: nothing is cached.
    """

    title: ClassVar[str]
    looked_for: ClassVar[str]
    obtained: ClassVar[str]

    class_names: tuple[str, ...]
    labels: np.ndarray
    names: Sequence[str]
    splits: tuple[str, ...] = ("train", "test")

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        num_points: int = 1024,
        normals: bool = True,
        seed: int = 0,
        allow_upsample: bool = False,
        skip_corrupt: bool = False,
        cache_dir: str | Path | None = DEFAULT_CACHE,
    ) -> None:
        self.root, self.split, self.num_points, self.normals = Path(root), split, num_points, normals
        self.seed, self.allow_upsample, self.skip_corrupt = seed, allow_upsample, skip_corrupt
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self.corrupt: dict[int, str] = {}
        self._estimated: dict[int, np.ndarray] = {}
        self._bare: set[int] = set()
        self._open()
        self.labels = _whole_numbers(self.root, np.asarray(self.labels).reshape(-1))
        if not len(self.labels):
            raise UserError(f"{self.root}: the split {split!r} is empty ({self.title})")
        if self.labels.min() < 0 or self.labels.max() >= len(self.class_names):
            raise UserError(f"{self.root}: label {self.labels.max()} with {len(self.class_names)} class names")

    @classmethod
    def matches(cls, root: Path) -> bool:
        """Whether ``root`` looks like this layout."""
        raise NotImplementedError

    def _open(self) -> None:
        """Set ``class_names``, ``labels`` and ``names``, and ``splits`` where they are not the usual two."""
        raise NotImplementedError

    def _read(self, index: int) -> Geometry:
        """The cloud as stored."""
        raise NotImplementedError

    def _prepared(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        cloud, name = self._read(index), self.names[index]
        return prepare_cloud(cloud.points, cloud.normals, self.num_points, name, self.allow_upsample, cloud.framed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        """See ``Sample``. Raises UserError for a sample that cannot be used, unless such are skipped."""
        if not 0 <= index < len(self):
            raise IndexError(f"cloud {index} of {len(self)}")
        try:
            points, normals = self._prepared(index)
        except UserError as error:
            if not self.skip_corrupt:
                raise
            return self._skip(index, error)
        if not self.normals:
            normals = np.empty((0, 3), np.float32)
        elif normals is None or not normals.any(1).all():
            normals = self._complete(index, points, normals)
        label, name = int(self.labels[index]), str(self.names[index])
        return Sample(torch.from_numpy(points), torch.from_numpy(normals), label, name)

    def _skip(self, index: int, error: UserError) -> Sample:
        if index not in self.corrupt:
            self.corrupt[index] = str(error)
            log.warning("skipped %s: %s (%d so far)", self.names[index], error, len(self.corrupt))
        if len(self.corrupt) == len(self):
            raise UserError(f"{self.root}: no sound cloud in the split {self.split!r}; the last: {error}")
        return self[(index + 1) % len(self)]

    def _complete(self, index: int, points: np.ndarray, normals: np.ndarray | None) -> np.ndarray:
        if index not in self._estimated:
            _log_estimated(str(self.root))
            if normals is None:
                self._bare.add(index)
            self._estimated[index] = complete_normals(points, normals)
        return self._estimated[index]

    def stores_normals(self, index: int) -> bool:
        """Whether the normals of a cloud that was read are those of the data set, and not estimated."""
        return index not in self._bare

    def surface(self, index: int) -> np.ndarray | None:
        """The triangles (T, 3, 3) that a cloud was sampled from, in its frame; None where there is only a cloud."""
        return None

    def _check_split(self) -> None:
        if self.split not in self.splits:
            raise UserError(f"{self.root} has no split {self.split!r}; it has {', '.join(self.splits)} ({self.title})")

    def _need(self, path: Path) -> Path:
        """The path, if it exists; otherwise an error that says what is missing from which layout."""
        if not path.exists():
            raise UserError(f"{path} not found: expected {self.title} ({self.looked_for}), {self.obtained}")
        return path


def _whole_numbers(root: Path, labels: np.ndarray) -> np.ndarray:
    """Labels as int64; UserError for what is none: text, complex numbers, fractions, NaN."""
    if labels.dtype.kind not in "fiub" and len(labels):
        raise UserError(f"{root}: labels are whole numbers, here they are {labels.dtype}")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all()):
        raise UserError(f"{root}: labels are whole numbers, here some are not, or not finite")
    return labels.astype(np.int64)


class CachedDataset(CloudDataset):
    """A layout with a file a cloud. ``build_cache`` parses all of them into one array, which is used from then on."""

    paths: list[Path]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._cache: np.memmap | None = None

    def _cache_file(self, folder: Path) -> Path:
        digest = hashlib.sha256(
            repr(
                (type(self).__name__, str(self.root.resolve()), self.num_points, self.seed, self.allow_upsample)
            ).encode()
        )
        for path in self.paths:
            facts = path.stat() if path.is_file() else None
            digest.update(repr((str(path), facts and (facts.st_size, facts.st_mtime_ns))).encode())
        return folder / f"{self.root.stem}-{self.split}-{self.num_points}-{digest.hexdigest()[:16]}.npy"

    def build_cache(self) -> Path | None:
        """Parse every file that is not cached yet; returns where (``None``: no cache folder, or it cannot be written).

        A file that cannot be used is left out and raises, or is skipped, when it is asked for.
        """
        if self.cache_dir is None:
            return None
        if self._cache is not None:
            return Path(str(self._cache.filename))
        target = self._cache_file(self.cache_dir)
        if not target.is_file():
            try:
                self._write_cache(target)
            except OSError as error:
                log.warning("no cache in %s (%s): every epoch parses %d files", self.cache_dir, error, len(self))
                return None
        self._cache = np.load(target, mmap_mode="r")
        return target

    def _write_cache(self, target: Path) -> None:
        from shared_utils.logging import progress

        shape = (len(self), self.num_points, 6)
        log.info("parsing %d files of %s once, into %s (%d MB)", len(self), self.root, target, np.prod(shape) * 4 >> 20)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: other processes may be writing the same cache.
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
        os.close(handle)
        try:
            rows = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            for index in progress(range(len(self)), f"parsing {self.root.name}"):
                try:
                    points, normals = self._prepared(index)
                except UserError:
                    rows[index] = np.nan  # asked for, the file is read again and says what is wrong
                    continue
                rows[index, :, :3] = points
                rows[index, :, 3:] = np.nan if normals is None else normals
            rows.flush()
            del rows
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _prepared(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        if self._cache is not None:
            row = np.array(self._cache[index])
            if not np.isnan(row[0, 0]):
                return row[:, :3].copy(), None if np.isnan(row[0, 3]) else row[:, 3:].copy()
        return super()._prepared(index)

    def __getstate__(self) -> dict[str, Any]:
        # Workers map the file themselves: pickling the map would copy it.
        return {**self.__dict__, "_cache": None if self._cache is None else self._cache.filename}

    def __setstate__(self, state: dict[str, Any]) -> None:
        file = state["_cache"]
        self.__dict__.update(state | {"_cache": None if file is None else np.load(file, mmap_mode="r")})

    def _columns(self, path: Path, max_rows: int | None) -> Geometry:
        table = read_table(self._need(path), max_rows)
        if table.shape[1] != 3 and table.shape[1] < 6:
            raise UserError(f"{path}, line 1: {table.shape[1]} columns; expected x, y, z, nx, ny, nz")
        return Geometry(table[:, :3], table[:, 3:6] if table.shape[1] >= 6 else None)
