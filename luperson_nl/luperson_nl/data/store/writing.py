"""Building a store, part by part (a video, a block of a conversion): what a killed run had finished is not done again."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luperson_nl.data.store import index as index_files
from luperson_nl.data.store import parts
from luperson_nl.data.store.backends import IMAGES, LMDB, SHARDS
from luperson_nl.data.store.crops import Crop
from luperson_nl.data.store.reading import Store, describe
from luperson_nl.data.store.sinks import SINKS, Sink
from shared_utils import UserError, distributed, files, work

log = logging.getLogger(__name__)
Format = Literal["lmdb", "shards", "folder"]
BATCH = 1000  # crops that are held in memory and written in one transaction
_OURS = (LMDB, SHARDS, IMAGES, index_files.FOLDER, index_files.SUMMARY, parts.DESCRIPTION)


class StoreWriter:
    """Takes the crops of one part after the other; made by ``create``.

    Attributes:
        resumed: an earlier run is continued.
        finished: it was whole already.
    """

    def __init__(self, job: work.Work, description: Mapping[str, Any]) -> None:
        self._work, self._description = job, description
        self._sink: Sink | None = None
        self.folder, self.resumed, self.finished = job.folder, job.resumed, job.finished

    def missing(self) -> list[str]:
        """The parts that are not there yet, in order; of several processes (torchrun), this one's share."""
        names = self._description["parts"]
        missing = distributed.broadcast(
            [name for name in names if not self._work.has(name)] if distributed.rank() == 0 else None
        )
        if self.resumed and len(missing) < len(names) and distributed.rank() == 0:
            log.info("%d of %d parts are there already", len(names) - len(missing), len(names))
        return distributed.share(missing)

    def add(self, part: str, crops: Iterable[Crop], report: Mapping[str, Any] | None = None) -> int:
        """Store the crops of a part; it counts when all are written.

        Args:
            part: its name, one of those that ``create`` was given.
            crops: drawn one by one, so that they may be made while they are stored.
            report: plain values, read when the last crop is drawn; numbers are summed up in the store's summary.

        Returns:
            The number of crops.

        Raises:
            OSError: the disk is full: what was finished before stays, and --resume goes on.
        """
        if self._sink is None:
            done = [name for name in self._description["parts"] if self._work.has(name)]
            self._sink = SINKS[self._description["format"]](self.folder, done)
        columns: dict[str, list[np.ndarray]] = {}
        source, number = iter(crops), 0
        while batch := list(islice(source, BATCH)):
            places = self._sink.put(batch)
            for name, array in (_columns(batch) | places).items():
                columns.setdefault(name, []).append(array)
            number += len(batch)
        self._sink.end_part()
        arrays = {name: np.concatenate(found) for name, found in columns.items()}
        self._work.write(part, report=json.dumps(dict(report or {})), **arrays)
        return number

    def reports(self) -> dict[str, dict[str, Any]]:
        """The reports of the finished parts, by part."""
        found = {}
        for name in self._description["parts"]:
            if (part := parts.read(self.folder, name)) is not None:
                found[name] = json.loads(str(part["report"]))
        return found

    def finish(self) -> Store:
        """Write the index over all parts.

        Raises:
            UserError: there is no crop at all.
        """
        distributed.barrier()
        self.close()
        summary = {key: self._description[key] for key in ("format", "videos", "job")}
        if distributed.rank() == 0:
            index = parts.assemble(self.folder, self._description["parts"], summary)
            if not len(index):
                raise UserError(f"{self.folder}: no crop was left to store")
            index.summary.update(describe(Store(self.folder, index)))
            index_files.write(self.folder, index, index.summary)
            self._work.complete()
        distributed.barrier()
        return Store(self.folder, index_files.read(self.folder))

    def close(self) -> None:
        """Close the files; what was added stays."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None


@contextmanager
def create(
    path: str | Path,
    format: Format,
    job: Mapping[str, Any],
    names: Sequence[str],
    videos: Sequence[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Iterator[StoreWriter]:
    """Begin or continue a store and hold it against other processes for the length of the block.

    Args:
        path: its folder.
        format: lmdb, shards (tar files of about 10,000 crops) or folder (``images/<identity>/<key>.jpg``).
        job: everything that the content depends on, in plain values.
        names: the parts, in the order of the index.
        videos: the names of the videos that crops number; the parts where None.
        resume: continue what is there, if it is the same job.
        overwrite: delete the store that is there and begin again; other files in the folder stay.

    Raises:
        UserError: ``path`` exists and neither flag is given, is another job's, is held by another process, or has files of
            the names that a store uses which are not a store's.
    """
    folder = Path(path)
    ours = (folder / work.DESCRIPTION).is_file()
    taken = [name for name in _OURS if (folder / name).exists()]
    if taken and not ours:
        raise UserError(f"{folder / taken[0]} exists and was not written here: name another --out")
    described = {"format": format, "parts": list(names), "videos": list(names if videos is None else videos)}
    contents = hashlib.sha256(json.dumps([described["parts"], described["videos"]]).encode()).hexdigest()[:16]
    job = {"format": format, "parts": len(names), "names": contents, **job}
    described["job"] = job
    with work.begin(folder, job, resume=resume, overwrite=overwrite) as begun:
        if distributed.rank() == 0 and not begun.finished:
            if not any((folder / work.PARTS / f"{name}.npz").is_file() for name in names):
                _clear(folder)  # of what was overwritten, or of a run that was killed in its first part
            (folder / index_files.SUMMARY).unlink(missing_ok=True)
            files.write_json(described, folder / parts.DESCRIPTION)
        distributed.barrier()
        writer = StoreWriter(begun, described)
        try:
            yield writer
        finally:
            writer.close()


def _clear(folder: Path) -> None:
    for name in _OURS:
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)


def _columns(batch: Sequence[Crop]) -> dict[str, np.ndarray]:
    return {
        "key": np.array([crop.key for crop in batch], "S"),
        "identity": np.array([crop.identity for crop in batch], np.int64),
        "camera": np.array([crop.camera for crop in batch], np.int32),
        "video": np.array([crop.video for crop in batch], np.int32),
        "frame": np.array([crop.frame for crop in batch], np.int32),
        "true": np.array([crop.true for crop in batch], np.int64),
        "box": np.array([crop.box for crop in batch], np.float32),
        "score": np.array([crop.score for crop in batch], np.float32),
    }
