"""Where the bytes of crops go, for writing: an LMDB, tar shards, or a folder of files.

A sink may be killed at any moment: what it wrote of a part that is not finished is written over, or cut off, next time.
"""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import lmdb
import numpy as np

from luperson_nl.data.store import parts
from luperson_nl.data.store.backends import IMAGES, LMDB, SHARDS, environment, shard_name
from luperson_nl.data.store.crops import Crop, image_name
from shared_utils import distributed

MAP_SIZE = 1 << 28  # bytes at first; doubled whenever it is full
PER_SHARD = 10_000


class Sink(Protocol):
    """Keeps the files of crops; ``put`` returns columns that say where they are."""

    def __init__(self, folder: Path, finished: Sequence[str]) -> None: ...
    def put(self, batch: Sequence[Crop]) -> dict[str, np.ndarray]: ...
    def end_part(self) -> None: ...
    def close(self) -> None: ...


class LmdbSink:
    """Batches in one transaction each; the map grows when it is full. Repeated keys are written over."""

    def __init__(self, folder: Path, finished: Sequence[str]) -> None:
        self.path = folder / LMDB
        self.path.mkdir(exist_ok=True)
        environment(self.path).close()  # that of a reader in this process
        existing = self.path / "data.mdb"
        size = max(MAP_SIZE, 2 * existing.stat().st_size if existing.is_file() else 0)
        self.environment = lmdb.open(str(self.path), map_size=size)

    def put(self, batch: Sequence[Crop]) -> dict[str, np.ndarray]:
        while True:
            try:
                with self.environment.begin(write=True) as transaction:
                    for crop in batch:
                        transaction.put(crop.key.encode(), crop.image)
                return {}
            except lmdb.MapFullError:
                self.environment.set_mapsize(2 * self.environment.info()["map_size"])
            except lmdb.MapResizedError:  # by another process
                self.environment.set_mapsize(0)
            except lmdb.Error as error:
                size = sum(len(crop.image) for crop in batch)
                raise _full_disk(error, self.path, size) or error from None

    def end_part(self) -> None:
        pass

    def close(self) -> None:
        self.environment.close()


def _full_disk(error: lmdb.Error, path: Path, size: int) -> OSError | None:
    """The error of the system behind one of LMDB's, which keeps its text, and of a write that stopped halfway not even that."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(number) in str(error):
            return OSError(number, os.strerror(number), str(path))
    if os.strerror(errno.EIO) in str(error):
        probe = path / ".probe"
        try:
            with probe.open("wb", buffering=0) as stream:
                _write(stream, bytes(size))
        except OSError as reason:
            return OSError(reason.errno, reason.strerror, str(path))
        finally:
            probe.unlink(missing_ok=True)
    return None


class ShardSink:
    """Tar files as webdataset reads them: ``<key>.jpg`` and ``<key>.json``. Cut off after the last finished part.

    Each process of a job writes shards of its own.
    """

    def __init__(self, folder: Path, finished: Sequence[str]) -> None:
        self.root = folder / SHARDS
        self.root.mkdir(exist_ok=True)
        ends, held = _ends(folder, finished)
        self.step = distributed.world_size()
        if self.step == 1:
            for path in self.root.glob("*.tar"):
                if int(path.stem) in ends:
                    os.truncate(path, ends[int(path.stem)])
                else:
                    path.unlink()
            self.number = max(ends, default=0)
            self.held = held.get(self.number, 0)
        else:  # the other processes may be writing already
            first = max(ends, default=-1) + 1
            self.number, self.held = first + (distributed.rank() - first) % self.step - self.step, 0
            self._next_shard()
        self.stream: io.FileIO | None = None

    def _next_shard(self) -> None:
        """The next free number of those that are this process's: rank, rank + world size, ..."""
        self.number, self.held = self.number + self.step, 0
        while (self.root / shard_name(self.number)).exists():
            self.number += self.step

    def put(self, batch: Sequence[Crop]) -> dict[str, np.ndarray]:
        shards, offsets = np.zeros(len(batch), np.int32), np.zeros(len(batch), np.int64)
        for i, crop in enumerate(batch):
            if self.held == PER_SHARD:
                self.close()
                self._next_shard()
            if self.stream is None:
                self.stream = (self.root / shard_name(self.number)).open("ab", buffering=0)
            shards[i], offsets[i] = self.number, self.stream.tell() + tarfile.BLOCKSIZE
            facts = {"identity": crop.identity, "camera": crop.camera, "video": crop.video, "frame": crop.frame}
            label = json.dumps(facts).encode()
            _write(self.stream, _member(f"{crop.key}.jpg", crop.image) + _member(f"{crop.key}.json", label))
            self.held += 1
        return {"shard": shards, "offset": offsets, "size": np.array([len(crop.image) for crop in batch], np.int32)}

    def end_part(self) -> None:
        if self.stream is not None:
            os.fsync(self.stream)

    def close(self) -> None:
        if self.stream is not None:
            stream, self.stream = self.stream, None
            with stream, suppress(OSError):  # readers do without the mark of the end
                _write(stream, bytes(2 * tarfile.BLOCKSIZE))


def _ends(folder: Path, finished: Sequence[str]) -> tuple[dict[int, int], dict[int, int]]:
    """For every shard that finished parts use: the byte after their last crop, and how many crops they have in it."""
    ends: dict[int, int] = {}
    held: dict[int, int] = {}
    for name in finished:
        part = parts.read(folder, name)
        if part is None or "shard" not in part:
            continue
        # Behind an image lie the header and the text of its label, a block each.
        after = part["offset"] + _padded(part["size"].astype(np.int64)) + 2 * tarfile.BLOCKSIZE
        for number in np.unique(part["shard"]).tolist():
            inside = part["shard"] == number
            ends[number] = max(ends.get(number, 0), int(after[inside].max()))
            held[number] = held.get(number, 0) + int(inside.sum())
    return ends, held


def _padded(size: Any) -> Any:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _member(name: str, content: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header.tobuf(tarfile.USTAR_FORMAT) + content.ljust(_padded(len(content)), b"\0")


def _write(stream: io.FileIO, content: bytes) -> None:
    """All of it: an unbuffered write may stop where the disk is full and only the next one says why."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[stream.write(rest) :]
    except OSError as error:
        error.filename = str(stream.name)
        raise


class FolderSink:
    """One file a crop, in a folder for each identity."""

    def __init__(self, folder: Path, finished: Sequence[str]) -> None:
        self.root = folder / IMAGES
        self.root.mkdir(exist_ok=True)

    def put(self, batch: Sequence[Crop]) -> dict[str, np.ndarray]:
        for crop in batch:
            path = self.root / image_name(crop.identity, crop.key)
            path.parent.mkdir(exist_ok=True)
            with path.open("wb", buffering=0) as stream:
                _write(stream, crop.image)
        return {}

    def end_part(self) -> None:
        os.sync()  # once, instead of waiting for the disk at every small file

    def close(self) -> None:
        pass


SINKS: dict[str, type[LmdbSink] | type[ShardSink] | type[FolderSink]] = {
    "lmdb": LmdbSink,
    "shards": ShardSink,
    "folder": FolderSink,
}
