"""Shards of other people in the layout of webdataset, as a store: an index of where their pictures lie."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl.data import webdataset
from luperson_nl.data.store import authors, parts
from luperson_nl.data.store.index import Index, renumber
from shared_utils import UserError

log = logging.getLogger(__name__)
FORMAT = "webdataset"


def are_in(folder: Path) -> bool:
    """Whether a folder holds such shards, and not a store of ours or of the authors."""
    known = (authors.KEYS, parts.DESCRIPTION)
    return bool(webdataset.shards_of(folder)) and not any((folder / name).is_file() for name in known)


def source(folder: Path) -> dict[str, Any]:
    """What changes when a shard is replaced, added or taken away."""
    facts = {path: path.stat() for path in webdataset.shards_of(folder)}
    return {str(path.relative_to(folder)): [found.st_size, found.st_mtime_ns] for path, found in facts.items()}


def read(folder: Path) -> Index:
    """The index of the samples that are for training; persons are renumbered to 0..C-1.

    Raises:
        UserError: there is none; see ``webdataset.scan``.
    """
    samples = webdataset.scan(folder)
    log.info("%s: %s", folder, samples.found)
    rows = np.flatnonzero(samples.part == webdataset.PARTS.index("train"))
    if not len(rows):
        raise UserError(f"{folder} has no sample of the split train: its {len(samples)} samples are to evaluate with")
    names = [str(path.relative_to(folder)) for path in samples.shards]
    stems = np.array([name.removesuffix(".tar").encode() for name in names])
    label, identity = renumber(samples.pid[rows])
    camera, video, frame = (getattr(samples, name)[rows].astype(np.int32) for name in ("camera", "video", "frame"))
    return Index(
        key=np.char.add(np.char.add(stems[samples.shard[rows]], b"/"), samples.name[rows]),
        label=label,
        camera=camera,
        video=video,
        frame=frame,
        identity=identity,
        shard=samples.shard[rows],
        offset=samples.offset[rows],
        size=samples.size[rows],
        summary={
            "format": FORMAT,
            "shards": names,
            "source": source(folder),
            "videos": [],
            "report": {"kept": len(rows)} | dict(samples.found.dropped),
        },
    )
