"""Is a picture in two places? By the bytes of its file, and by what it shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Of 256 bits of an aligned face. A copy at half the size, saved anew as JPEG, differs in a dozen; different pictures of 13
# persons in 45 or more.
NEAR_BITS = 20


class PictureHash(NamedTuple):
    """digest: SHA-256 of a file. near: 256 bits of what it shows, as hex digits; "" where unknown."""

    digest: str
    near: str = ""


def hash_file(path: str | Path, crop: np.ndarray | None = None) -> PictureHash:
    """The hashes of a picture's file, and of what it shows.

    Args:
        path: the file.
        crop: uint8 RGB (h, w, 3), best the aligned face, which stays the same when the picture is cut.
    """
    with Path(path).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return PictureHash(digest, "" if crop is None else near_hash(crop))


def near_hash(image: np.ndarray) -> str:
    """256 bits that change little when a picture is resized, recompressed or brightened: is it darker to the right?

    Args:
        image: uint8 RGB (h, w, 3).

    Returns:
        64 hex digits.
    """
    from PIL import Image

    small = Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def find_copies(sources: Sequence[str], hashes: Sequence[str], others: Mapping[str, PictureHash]) -> dict[str, int]:
    """Which of other pictures are copies of known ones.

    Args:
        sources: SHA-256 of the known files, "" where unknown.
        hashes: ``near_hash`` of the known pictures, "" where unknown.
        others: hashes by the name of the picture.

    Returns:
        The names of the copies, with the index of the known picture.
    """
    by_digest = {digest: row for row, digest in enumerate(sources) if digest}
    rows = [row for row, bits in enumerate(hashes) if bits]
    known = _bits(hashes[row] for row in rows)
    found = {}
    for name, (digest, near) in others.items():
        if digest in by_digest:
            found[name] = by_digest[digest]
        elif near and rows:
            different = np.bitwise_count(known ^ _bits([near])).sum(1)
            if different.min() <= NEAR_BITS:
                found[name] = rows[int(different.argmin())]
    return found


def _bits(hashes: Iterable[str]) -> np.ndarray:
    return np.array([list(bytes.fromhex(bits)) for bits in hashes], np.uint8).reshape(-1, 32)
