"""The finished parts of a store that is being built, and the index that they are put together to."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl.data.store.index import Index, renumber
from shared_utils import UserError, files
from shared_utils.work import PARTS

log = logging.getLogger(__name__)
DESCRIPTION = "store.json"  # format, parts and videos of a store, written before its first crop
KINDS = {"key": "S1", "identity": "i8", "camera": "i4", "video": "i4", "frame": "i4", "true": "i8"}
OPTIONAL = {"box": "f4", "score": "f4", "shard": "i4", "offset": "i8", "size": "i4"}


def read(folder: Path, name: str) -> dict[str, np.ndarray] | None:
    """The columns of a finished part; None where it is missing or damaged."""
    try:
        with np.load(folder / PARTS / f"{name}.npz", allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def assemble(folder: Path, names: Sequence[str], summary: dict[str, Any]) -> Index:
    """Put the parts together in their order; identities become labels 0..C-1 over all of them, true people likewise.

    Raises:
        UserError: a part is missing or damaged.
    """
    columns: dict[str, list[np.ndarray]] = {}
    counts: dict[str, int] = {}
    for name in names:
        part = read(folder, name)
        if part is None:
            raise UserError(
                f"{folder / PARTS / name}.npz is missing or damaged: continue with --resume, which builds it again"
            )
        for key, number in json.loads(str(part.pop("report"))).items():
            if isinstance(number, int):
                counts[key] = counts.get(key, 0) + number
        for key, array in part.items():
            columns.setdefault(key, []).append(array)
    whole = {key: np.concatenate(arrays) for key, arrays in columns.items()}
    for key, kind in KINDS.items():
        whole.setdefault(key, np.zeros(0, kind))
    label, identity = renumber(whole.pop("identity"))
    true = whole.pop("true")
    people = None
    if (true >= 0).any():
        people = np.full(len(true), -1, np.int32)
        people[true >= 0] = renumber(true[true >= 0])[0]
    if "box" in whole and np.isnan(whole["box"]).all():
        del whole["box"], whole["score"]
    return Index(label=label, identity=identity, true=people, **whole, summary=summary | {"report": counts})


def read_unfinished(folder: Path) -> Index:
    """The index of the parts that are finished, in memory; a warning says how many they are.

    Raises:
        UserError: none is.
    """
    described = files.read_json(folder / DESCRIPTION, "description of a store")
    finished = [name for name in described["parts"] if (folder / PARTS / f"{name}.npz").is_file()]
    found = assemble(folder, finished, {"format": described["format"], "videos": described["videos"]})
    if not len(found):
        raise UserError(f"{folder} holds no crop yet: finish building it with --resume")
    log.warning(
        "%s is not finished: %d of %d parts are there; go on building with --resume",
        folder,
        len(finished),
        len(described["parts"]),
    )
    return found
