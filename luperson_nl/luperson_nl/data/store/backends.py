"""Where the bytes of crops lie, for reading: an LMDB, tar shards, or a folder of files."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Protocol, cast

import lmdb

from luperson_nl.data.store.crops import image_name
from luperson_nl.data.store.index import Index
from shared_utils import UserError

LMDB, SHARDS, IMAGES = "lmdb", "shards", "images"


class Reader(Protocol):
    """The bytes of crop i as they were stored; None where there is no such crop."""

    def get(self, index: Index, i: int) -> bytes | None: ...


class _Environment:
    """An LMDB environment with one long-lived transaction. A process may open each only once, so all stores share it."""

    def __init__(self, path: str) -> None:
        self.path, self.pid = path, 0
        self.environment = self.transaction = None

    def read(self) -> lmdb.Transaction:
        if self.pid != os.getpid():
            if self.environment is not None:  # inherited by fork: closing it here leaves the parent's open
                self.environment.close()
            self.environment = _open(self.path)
            self.transaction = self.environment.begin()
            self.pid = os.getpid()
        assert self.transaction is not None
        return self.transaction

    def close(self) -> None:
        """Until it is read again."""
        if self.environment is not None:
            self.environment.close()
        self.environment, self.transaction, self.pid = None, None, 0

    __del__ = close


_environments: weakref.WeakValueDictionary[str, _Environment] = weakref.WeakValueDictionary()


def _open(path: str) -> lmdb.Environment:
    try:
        return lmdb.open(path, readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise UserError(
            f"{path} cannot be opened as an LMDB ({error}): copy it again, or build the store again"
        ) from None


def environment(path: Path) -> _Environment:
    """The environment of this process for a path, opened when it is first read."""
    name = str(path.resolve())
    return _environments.setdefault(name, _Environment(name))


class LmdbReader:
    """One long-lived transaction a process; opened anew after a fork."""

    def __init__(self, folder: Path) -> None:
        self.environment = environment(folder / LMDB)

    def get(self, index: Index, i: int) -> bytes | None:
        found = self.environment.read().get(index.key[i])
        return None if found is None else cast(bytes, found)  # the transaction hands out copies, not views

    def entries(self) -> int:
        return self.environment.read().stat()["entries"]


class ShardReader:
    """Reads a crop at its place in a tar file; shards are opened when they are first needed, once a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pid = folder / SHARDS, 0
        self.descriptors: dict[int, int] = {}

    def get(self, index: Index, i: int) -> bytes | None:
        assert index.shard is not None and index.offset is not None and index.size is not None
        if self.pid != os.getpid():
            self.descriptors, self.pid = {}, os.getpid()
        number = int(index.shard[i])
        if number not in self.descriptors:
            try:
                self.descriptors[number] = os.open(self.place(index, number), os.O_RDONLY)
            except FileNotFoundError:
                return None
        size = int(index.size[i])
        found = os.pread(self.descriptors[number], size, int(index.offset[i]))
        return found if len(found) == size else None

    def place(self, index: Index, number: int) -> Path:
        """The file of a shard."""
        return self.folder / shard_name(number)

    def __del__(self) -> None:
        for descriptor in self.descriptors.values():
            os.close(descriptor)


class WebdatasetReader(ShardReader):
    """The same in shards of other names, which the summary of the index lists."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def place(self, index: Index, number: int) -> Path:
        return self.folder / index.summary["shards"][number]


class FolderReader:
    """One file a crop, in a folder for each identity."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / IMAGES

    def get(self, index: Index, i: int) -> bytes | None:
        try:
            return (self.folder / image_name(int(index.identity[index.label[i]]), index.key[i].decode())).read_bytes()
        except FileNotFoundError:
            return None


READERS = {"lmdb": LmdbReader, "shards": ShardReader, "folder": FolderReader, "webdataset": WebdatasetReader}


def shard_name(number: int) -> str:
    return f"{number:06d}.tar"
