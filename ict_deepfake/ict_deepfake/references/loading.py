"""Reference sets read: our own files, and the published one without names. Nothing of a file is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ict_deepfake.references.reference_set import ReferenceSet
from shared_utils import UserError, checkpoint


def load_references(path: str | Path) -> ReferenceSet:
    """A reference set of ``save`` (.safetensors, .npz), or the published ``ref.pkl``.

    Raises:
        UserError: missing, damaged, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} not found: give a reference set of build_reference (.safetensors, .npz) or a ref.pkl")
    if path.suffix == ".npz":
        return _load_npz(path)
    content = checkpoint.load_tensors(path)
    if path.suffix != ".safetensors":
        return from_published(content, str(path))
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        facts = json.loads((opened.metadata() or {}).get("ict_deepfake", "{}"))
    return _assemble(content, facts, path)


def _load_npz(path: Path) -> ReferenceSet:
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except Exception as error:  # of numpy, zipfile or zlib, whichever meets the damage first
        raise UserError(f"{path} is not a whole .npz of plain arrays ({error}): build it again") from None
    tensors = {key: torch.from_numpy(content[key]) for key in ("inner", "outer") if key in content}
    facts = {key: content[key].tolist() for key in ("names", "sources", "hashes", "model") if key in content}
    return _assemble(tensors, facts, path)


def _assemble(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], path: Path) -> ReferenceSet:
    missing = [key for key in ("inner", "outer") if key not in tensors] + ([] if "names" in facts else ["names"])
    if missing:
        raise UserError(
            f"{path} is not a reference set (it has no {', '.join(missing)}): build one with build_reference"
        )
    return ReferenceSet(
        list(facts["names"]),
        tensors["inner"].float(),
        tensors["outer"].float(),
        list(facts.get("sources", [])),
        list(facts.get("hashes", [])),
        str(facts.get("model", "")),
    )


def from_published(content: Any, name: str = "the file") -> ReferenceSet:
    """The set of a published ``ref.pkl``, {"inner": (m, dim), "outer": (m, dim)}, its rows numbered as persons.

    Raises:
        UserError: it holds something else.
    """
    if not isinstance(content, Mapping) or not {"inner", "outer"} <= set(content):
        keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(f"{name} is not a reference set (it holds: {keys}): give a ref.pkl with inner and outer")
    inner, outer = (torch.as_tensor(content[key]).float() for key in ("inner", "outer"))
    return ReferenceSet([f"reference {row}" for row in range(len(inner))], inner, outer)
