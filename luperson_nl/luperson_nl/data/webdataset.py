"""Shards of other people in the layout of webdataset: pictures with a ``.json`` or a ``.cls`` each, in tar files.

A sample is what lies one after the other under one name up to its first dot: ``0001.jpg`` and ``0001.json``. The json has
``pid`` (or ``person_id``), and may have ``camid`` (or ``camera``), ``split`` (train, query, gallery), ``video`` and ``frame``; a
``.cls`` has the person's number alone. Without a split, it is that of the shard's name (``query-000.tar``), else train.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl.data.image_lists import ENDINGS, UNKNOWN, Found, ImageList
from luperson_nl.data.tar_pictures import Member, members
from shared_utils import UserError

log = logging.getLogger(__name__)
PARTS = ("train", "query", "gallery")
_PERSON, _CAMERA = (
    ("pid", "person_id", "identity"),
    ("camid", "camera"),
)  # identity: of the shards that are written here
_NAMED = 20  # bad samples that are named; all are counted


@dataclass(frozen=True)
class Samples:
    """The samples of all shards, (n,) each.

    name: bytes, the picture's in its tar. shard: int32, its place in ``shards``. offset, size: int64, int32, of the picture.
    part: int8, its place in ``PARTS``. pid, camera, video, frame: int64, as ``ImageList`` has them.
    """

    shards: list[Path]
    name: np.ndarray
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    part: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    found: Found

    def __len__(self) -> int:
        return len(self.name)


def shards_of(root: Path) -> list[Path]:
    """The tar files of a folder, those of its folders train, query and gallery included; none where it has none."""
    return sorted(path for place in (root, *(root / part for part in PARTS)) for path in place.glob("*.tar"))


def read(root: Path) -> tuple[dict[str, ImageList], Found]:
    """The lists of a folder of shards; a picture's path is that of the tar, and its name in it.

    Raises:
        UserError: as ``scan``.
    """
    samples = scan(root)
    names = np.array([str(path) for path in samples.shards])[samples.shard]
    paths = np.char.add(np.char.add(names, "/"), np.char.decode(samples.name, "utf-8"))
    columns = (samples.pid, samples.camera, samples.video, samples.frame)
    parts = {}
    for number, part in enumerate(PARTS):
        own = samples.part == number
        parts[part] = ImageList(paths[own], *(column[own] for column in columns))
    return parts, samples.found


def scan(root: Path) -> Samples:
    """Read what is said of the pictures in the shards of a folder; no picture is opened.

    A sample that is not whole or cannot be understood is left out: named in the log, counted with the reason in ``found``. So are
    those of the person -1, as in Market-1501.

    Raises:
        UserError: there is no shard, no sample in any, or one is not a tar.
    """
    found, columns = Found(), []
    shards = shards_of(root)
    for number, shard in enumerate(shards):
        rows = list(_samples(shard, found))
        if rows:
            name, offset, size, part, pid, camera, video, frame = zip(*rows, strict=True)
            numbers = [np.array(column, np.int64) for column in (camera, video, frame)]
            place = np.full(len(rows), number, np.int32), np.array(offset, np.int64), np.array(size, np.int32)
            columns.append((np.array(name), *place, np.array(part, np.int8), np.array(pid), *numbers))
    bad = sum(found.dropped.values())
    if bad > _NAMED:
        log.warning("%s: %d samples are left out, of which the first %d are named", root, bad, _NAMED)
    if not columns:
        reasons = f" ({found})" if bad else ""
        raise UserError(
            f"{root} has no sample in its {len(shards)} tar files{reasons}: a picture has a .json with pid, camid and split "
            "beside it, or a .cls with the person's number (see README.md)"
        )
    name, shard, offset, size, part, pid, camera, video, frame = map(np.concatenate, zip(*columns, strict=True))
    return Samples(shards, name, shard, offset, size, part, _persons(pid), camera, video, frame, found)


def _persons(names: np.ndarray) -> np.ndarray:
    """Persons as numbers: their own where every name is one, else in the order of the names."""
    known, place = np.unique(names, return_inverse=True)
    decimal = all(name.isdigit() for name in known.tolist())
    return (known.astype(np.int64) if decimal else np.arange(len(known)))[place]


def _samples(shard: Path, found: Found) -> Iterator[tuple[Any, ...]]:
    """(name, offset, size, part, pid as bytes, camera, video, frame) of the good samples of a shard."""
    default = next((part for part in PARTS if part in (shard.parent.name, shard.name.partition("-")[0])), PARTS[0])
    with shard.open("rb") as stream:

        def text(member: Member) -> bytes:
            stream.seek(member.offset)
            return stream.read(member.size)

        for key, group in groupby(members(shard), key=lambda member: _split_name(member.name)[0]):
            files = {_split_name(member.name)[1]: member for member in group}
            try:
                picture, facts = _picture(files), _facts(files, text)
                row = _described(facts, default)
            except _Bad as reason:
                if sum(found.dropped.values()) < _NAMED:
                    log.warning("%s: the sample %s is left out: %s", shard, key or "at its end", reason)
                found.dropped[str(reason)] += 1
                continue
            found.endings[Path(picture.name).suffix] += 1
            yield picture.name.encode(), picture.offset, picture.size, *row


class _Bad(Exception):
    """Why a sample is left out."""


def _split_name(name: str) -> tuple[str, str]:
    """Key and ending: the basename is split at its first dot."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{ending}".lower()


def _picture(files: Mapping[str, Member]) -> Member:
    if not all(member.whole for member in files.values()):
        raise _Bad("cut off or damaged")
    picture = next((member for ending, member in files.items() if ending in ENDINGS), None)
    if picture is None:
        raise _Bad("no picture")
    if not picture.size:
        raise _Bad("empty picture")
    return picture


def _facts(files: Mapping[str, Member], text: Any) -> dict[str, Any]:
    """What is said of a picture, with the person as ``pid``."""
    facts: dict[str, Any] = {}
    if ".json" in files:
        try:
            facts = json.loads(text(files[".json"]))
        except ValueError:
            raise _Bad("unreadable json") from None
        if not isinstance(facts, dict):
            raise _Bad("json without names")
    person = next((facts[name] for name in _PERSON if name in facts), None)
    if person is None and ".cls" in files:
        person = text(files[".cls"]).decode("ascii", "replace").strip()
        if not person.lstrip("-").isdigit():
            raise _Bad("cls is not a number")
    if person is None:
        raise _Bad("no pid in a json, nor a cls")
    return facts | {"pid": person}


def _described(facts: Mapping[str, Any], default: str) -> tuple[int, bytes, int, int, int]:
    """(part, pid, camera, video, frame)."""
    person = facts["pid"]
    if isinstance(person, (bool, float, list, dict)) or not str(person).strip():
        raise _Bad("pid is neither number nor text")
    if str(person).strip() == "-1":
        raise _Bad("with the id -1")
    part = facts.get("split") or default
    if part not in PARTS:
        raise _Bad(f"split is none of {', '.join(PARTS)}")
    camera = _number(next((facts[name] for name in _CAMERA if name in facts), None))
    video, frame = _number(facts.get("video")), _number(facts.get("frame"))
    return PARTS.index(part), str(person).strip().encode(), camera, video, frame


def _number(value: Any) -> int:
    if value is None:
        return UNKNOWN
    if isinstance(value, bool) or not str(value).strip().lstrip("-").isdigit():
        raise _Bad("camera, video or frame is not a number")
    return int(value)
