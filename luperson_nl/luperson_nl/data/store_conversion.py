"""From one kind of store to another, and from folders of pictures to a store. The bytes of a picture stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luperson_nl.data import market, tar_pictures
from luperson_nl.data.decoding import decode
from luperson_nl.data.image_lists import ImageList
from luperson_nl.data.store import Crop, Store, create, crop_key, foreign, identity_of, open_store
from luperson_nl.data.store.reading import is_whole
from luperson_nl.data.store.writing import Format
from shared_utils import UserError
from shared_utils.logging import progress

log = logging.getLogger(__name__)
BLOCK = 10_000  # crops of a part: what a killed conversion does again
Split = Literal["train", "query", "gallery", "all"]


@dataclass(frozen=True)
class _Source:
    """n crops that can be read by their number; ``job``: what they depend on."""

    count: int
    read: Callable[[int], Crop]
    videos: list[str]
    job: dict[str, Any]


def convert(
    source: str | Path,
    out: str | Path,
    format: Format = "lmdb",
    split: Split = "train",
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> tuple[Store, int]:
    """Copy crops into a store of another format.

    Args:
        source: a store, the authors' lmdb/ with keys.pkl, or pictures in a layout that ``market.read`` knows.
        out: folder of the new store.
        format: of the new store.
        split: of pictures in a layout with parts.
        resume: continue the same conversion.
        overwrite: begin again.

    Returns:
        (the new store, how many pictures were left out because they are missing, empty or not whole).

    Raises:
        UserError: the source cannot be read, or ``out`` is the source itself.
    """
    if Path(out).resolve() == Path(source).resolve():
        raise UserError(f"{out} is what is converted: name another --out")
    found = _of_store(open_store(source)) if _is_store(Path(source)) else _of_pictures(source, split)
    names = [f"{number:06d}" for number in range(-(-found.count // BLOCK))]
    with create(out, format, found.job, names, found.videos, resume=resume, overwrite=overwrite) as writer:
        if not writer.finished:
            for name in progress(writer.missing(), "converting"):
                rows = range(int(name) * BLOCK, min((int(name) + 1) * BLOCK, found.count))
                counts = {"kept": 0, "unreadable": 0}
                writer.add(name, _whole(found, rows, counts), counts)
        store = open_store(out) if writer.finished else writer.finish()
        return store, sum(report["unreadable"] for report in writer.reports().values())


def _is_store(path: Path) -> bool:
    names = ("index.json", "store.json", "keys.pkl", "data.mdb", "lmdb/data.mdb")
    return path.is_dir() and not foreign.are_in(path) and any((path / name).is_file() for name in names)


def _whole(source: _Source, rows: range, counts: dict[str, int]) -> Iterator[Crop]:
    """The crops that are whole images; the others are named and counted."""
    for i in rows:
        try:
            crop = source.read(i)
        except UserError as error:
            log.warning("%s: left out", error)
            counts["unreadable"] += 1
            continue
        counts["kept"] += 1
        yield crop


def _readable(content: bytes) -> bool:
    """Decoded at an eighth of its size, an image is read to its end all the same."""
    return is_whole(content) and decode(content, at_least=(1, 1)) is not None


def _of_store(store: Store) -> _Source:
    index = store.index

    def read(i: int) -> Crop:
        content = store.encoded(i)
        if not _readable(content):
            raise UserError(f"{store.path}: crop {store.key(i)} is not a whole image")
        crop = Crop(
            key=store.key(i),
            image=content,
            identity=int(index.identity[index.label[i]]),
            video=int(index.video[i]),
            frame=int(index.frame[i]),
            camera=int(index.camera[i]),
            true=-1 if index.true is None else int(index.true[i]),
        )
        if index.box is not None and index.score is not None:
            x1, y1, x2, y2 = index.box[i].tolist()
            crop = crop._replace(box=(x1, y1, x2, y2), score=float(index.score[i]))
        return crop

    return _Source(len(store), read, list(index.summary["videos"]), {"source": store.digest})


def _of_pictures(source: str | Path, split: Split) -> _Source:
    data = market.read(source)
    log.info("%s", data.report())
    parts: dict[str, ImageList] = {"train": data.train, "query": data.query, "gallery": data.gallery}
    chosen = [part for name, part in parts.items() if split in (name, "all")]
    paths = np.concatenate([part.paths for part in chosen])
    pid, camera, frame = (
        np.concatenate([getattr(part, name) for part in chosen]) for name in ("pid", "camera", "frame")
    )
    if not len(paths):
        raise UserError(f"{source} has no picture in its part {split}: choose another with --split")
    if len(set(np.unique(pid)) & {-1}):
        raise UserError(f"{source} has pictures of the person -1: take them out")
    cameras, camera = np.unique(camera, return_inverse=True)
    order = np.argsort(pid, kind="stable")

    def read(i: int) -> Crop:
        row = order[i]
        path = Path(str(paths[row]))
        try:
            content = tar_pictures.content(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
        if not _readable(content):
            raise UserError(f"{path} is {'not a whole image' if content else 'empty'}")
        person, view = int(pid[row]), int(camera[row])
        # The place in the list stands where other stores have the frame, so that no two names are alike. Who it really is
        # is not known: folders may be tracks, too.
        return Crop(crop_key(view, person, i, 0), content, identity_of(0, person), view, max(int(frame[row]), 0), view)

    job = {"source": str(Path(source).resolve()), "split": split, "pictures": len(paths)}
    return _Source(len(paths), read, [f"camera {number}" for number in cameras], job)
