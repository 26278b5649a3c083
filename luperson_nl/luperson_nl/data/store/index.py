"""The index of a store: one memory-mapped array a column, so that workers share its pages and copy nothing.

On disk: ``index/<column>.npy`` and ``index.json``, which is written last and without which the index does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from shared_utils import UserError, files

FOLDER, SUMMARY = "index", "index.json"
BLOCK = 1 << 20  # rows that are held in memory at once while a column is written or hashed


@dataclass(frozen=True, eq=False)
class Index:
    """Columns of n crops, in the order in which they are stored; memory-mapped where they come from disk.

    key: (n,) fixed-width bytes. label: (n,) int32, the noisy identity, 0..C-1. camera, video: (n,) int32. frame: (n,)
    int32, 1-based in its video. true: (n,) int32, the hidden person, 0..P-1, -1 unknown; None where nothing is known.
    box: (n, 4) float32 xyxy pixels of its video's frame, or None. score: (n,) float32, or None. shard, offset, size:
    (n,) int32, int64, int32, where the crop lies in tar shards, or None. identity: (C,) int64, what each label was
    before it was renumbered (``identity_of`` a video and track, or a published id).
    """

    key: np.ndarray
    label: np.ndarray
    camera: np.ndarray
    video: np.ndarray
    frame: np.ndarray
    identity: np.ndarray
    true: np.ndarray | None = None
    box: np.ndarray | None = None
    score: np.ndarray | None = None
    shard: np.ndarray | None = None
    offset: np.ndarray | None = None
    size: np.ndarray | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.key)

    @property
    def num_classes(self) -> int:
        return len(self.identity)

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays that there are, by name."""
        found = {name: getattr(self, name) for name in COLUMNS}
        return {name: array for name, array in found.items() if array is not None}


COLUMNS = tuple(each.name for each in fields(Index) if each.name != "summary")


def digest(index: Index) -> str:
    """16 hex digits of keys, labels, cameras and videos."""
    content = hashlib.sha256()
    for column in (index.key, index.label, index.camera, index.video):
        content.update(str(column.dtype).encode())
        for start in range(0, len(column), BLOCK):
            content.update(np.ascontiguousarray(column[start : start + BLOCK]).tobytes())
    return content.hexdigest()[:16]


def renumber(identities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Any integers -> (labels int32 0..C-1 in ascending order of the integers, the C integers as int64)."""
    known, labels = np.unique(identities, return_inverse=True)
    return labels.astype(np.int32), known.astype(np.int64)


def write(folder: Path, index: Index, summary: Mapping[str, Any]) -> None:
    """Write the columns, then the summary, each whole or not at all."""
    (folder / SUMMARY).unlink(missing_ok=True)
    for name, array in index.columns().items():
        with files.replacing(folder / FOLDER / f"{name}.npy") as temporary:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=array.dtype, shape=array.shape)
            for start in range(0, len(array), BLOCK):
                out[start : start + BLOCK] = array[start : start + BLOCK]
            out.flush()
            del out
    for name in set(COLUMNS) - set(index.columns()):
        (folder / FOLDER / f"{name}.npy").unlink(missing_ok=True)
    files.write_json(dict(summary) | {"count": len(index), "classes": index.num_classes}, folder / SUMMARY)


def read(folder: Path) -> Index:
    """Open the index of a store without reading its columns into memory.

    Raises:
        UserError: a part of it is missing or damaged.
    """
    summary = files.read_json(folder / SUMMARY, "index of a store")
    found: dict[str, np.ndarray] = {}
    for name in COLUMNS:
        path = folder / FOLDER / f"{name}.npy"
        try:
            # Seen as a plain array, of which single elements are read several times faster.
            found[name] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{path} is damaged ({error}): build the store again, or restore it from a copy") from None
    for name in ("key", "label", "camera", "video", "frame", "identity"):
        if name not in found:
            raise UserError(f"{folder / FOLDER / name}.npy not found: build the store again, or restore it from a copy")
    for name, array in found.items():
        wanted = summary.get("classes") if name == "identity" else summary.get("count")
        if len(array) != wanted:
            raise UserError(
                f"{folder / FOLDER / name}.npy has {len(array)} rows, {SUMMARY} says {wanted}: they are of different stores; "
                "build the store again, or restore it from a copy"
            )
    return Index(**found, summary=summary)
