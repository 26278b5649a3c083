"""Files and members of tar files alike: ``shards/000.tar/0001.jpg`` is the member ``0001.jpg``, read where it lies."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from shared_utils import UserError


class Member(NamedTuple):
    """A member's name, the first byte of its content and its length; ``whole``: whether the shard has all of it."""

    name: str
    offset: int
    size: int
    whole: bool = True


def members(shard: Path) -> Iterator[Member]:
    """The files in a tar, in their order. At a place that is damaged a member without a name ends them, not whole.

    Raises:
        UserError: it is not a tar, or a compressed one, in which no member can be read by itself.
    """
    length = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield Member(
                        member.name, member.offset_data, member.size, member.offset_data + member.size <= length
                    )
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue] (tarfile keeps them all)
            end = archive.offset
    except tarfile.ReadError as error:
        if "unexpected end" in str(error):
            return  # the member that was cut off is the last one
        raise UserError(f"{shard} is not a plain tar file ({error}): unpack it where it is compressed") from None
    with shard.open("rb") as stream:
        stream.seek(end)
        if any(stream.read(tarfile.BLOCKSIZE)):
            yield Member("", end, 0, whole=False)


@cache
def _places(shard: Path) -> dict[str, tuple[int, int]]:
    return {member.name: (member.offset, member.size) for member in members(shard) if member.whole}


def _inside(path: str) -> tuple[Path, str] | None:
    """The tar and the member of a path into one; None for a file's."""
    before, ending, member = path.partition(".tar/")
    shard = Path(before + ending[:-1])
    return (shard, member) if ending and shard.is_file() else None


def content(path: str | Path) -> bytes:
    """The bytes of a file, or of a member of a tar.

    Raises:
        FileNotFoundError: it is not there.
    """
    if (found := _inside(str(path))) is None:
        return Path(path).read_bytes()
    shard, member = found
    if member not in _places(shard):
        raise FileNotFoundError(2, os.strerror(2), str(path))
    offset, size = _places(shard)[member]
    with shard.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)


def size(path: str | Path) -> int:
    """The length of a file, or of a member of a tar.

    Raises:
        FileNotFoundError: it is not there.
    """
    if (found := _inside(str(path))) is None:
        return Path(path).stat().st_size
    shard, member = found
    if member not in _places(shard):
        raise FileNotFoundError(2, os.strerror(2), str(path))
    return _places(shard)[member][1]


def is_there(path: str | Path) -> bool:
    """Whether there is such a file, or such a member of a tar."""
    found = _inside(str(path))
    return Path(path).is_file() if found is None else found[1] in _places(found[0])
