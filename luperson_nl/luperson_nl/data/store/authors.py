"""The published layout: ``lmdb/`` and ``keys.pkl`` with keys and class ids, as an index of arrays.

A key is ``{video:05d}_{pid:06d}_{frame:07d}_{box:02d}``, its value a JPEG.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl.data.store.backends import LMDB
from luperson_nl.data.store.index import Index, renumber
from shared_utils import UserError, plain_pickle

KEYS = "keys.pkl"
_WIDTHS = (5, 6, 7, 2)  # of the four numbers of a key


def source(folder: Path) -> dict[str, Any]:
    """What changes when the file of keys is replaced."""
    found = (folder / KEYS).stat()
    return {"file": KEYS, "bytes": found.st_size, "modified": found.st_mtime_ns}


def read(folder: Path) -> Index:
    """The index of ``keys.pkl``; its ids are renumbered to 0..C-1, whatever they are.

    Raises:
        UserError: the file or the LMDB is missing, or the file is not dict(keys, pids) (older: vids).
    """
    path = folder / KEYS
    if not (folder / LMDB / "data.mdb").is_file():
        raise UserError(
            f"{folder / LMDB / 'data.mdb'} not found beside {path}: the published data is {LMDB}/ and {KEYS} in one folder; "
            "copy the LMDB there, or build a store of your own with build_dataset"
        )
    content = plain_pickle.read(path)
    if not isinstance(content, dict) or "keys" not in content or not ({"pids", "vids"} & set(content)):
        raise UserError(f"{path} is not dict(keys=..., pids=...): copy the published file again")
    ids = np.asarray(content["pids"] if "pids" in content else content["vids"])
    keys = np.asarray(content["keys"])
    if keys.dtype.kind == "U":
        keys = np.char.encode(keys, "ascii")
    if keys.dtype.kind != "S" or ids.dtype.kind not in "iu" or keys.ndim != 1 or keys.shape != ids.shape:
        raise UserError(
            f"{path}: {keys.shape} keys ({keys.dtype}) and {ids.shape} ids ({ids.dtype}) do not pair up: copy it again"
        )
    label, identity = renumber(ids)
    video, frame = _numbers(keys)
    return Index(
        key=keys,
        label=label,
        camera=video,
        video=video,
        frame=frame,
        identity=identity,
        summary={"format": "lmdb", "source": source(folder), "videos": []},
    )


def _numbers(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Video and frame of every key; zeros where the names are of another kind."""
    wanted = sum(_WIDTHS) + len(_WIDTHS) - 1
    zeros = np.zeros(len(keys), np.int32)
    if keys.dtype.itemsize != wanted or not len(keys):
        return zeros, zeros
    letters = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), wanted)
    ends = np.cumsum(np.array(_WIDTHS) + 1) - 1
    digits = np.ones(wanted, bool)
    digits[ends[:-1]] = False
    values = letters - ord("0")
    if (letters[:, ~digits] != ord("_")).any() or (values[:, digits] > 9).any():
        return zeros, zeros

    def number(which: int) -> np.ndarray:
        columns = values[:, ends[which] - _WIDTHS[which] : ends[which]]
        return columns.astype(np.int32) @ (10 ** np.arange(_WIDTHS[which] - 1, -1, -1, dtype=np.int32))

    return number(0), number(2)
