"""Operators on disk: our ``.npz``, plain ``.npy`` matrices, and the files that the published code caches."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from incomplete_sensing.operators.base import OperatorFamily
from incomplete_sensing.operators.dense import DenseOperators
from incomplete_sensing.operators.masks import MaskOperators
from incomplete_sensing.operators.mri import MRIOperators, MultiCoilMRIOperators
from incomplete_sensing.operators.published import read_published_operators
from incomplete_sensing.operators.tomography import TomographyOperators
from shared_utils import UserError
from shared_utils.files import replacing

_KINDS = ("dense", "mask", "mri", "multicoil_mri", "ct")
_LAYOUT = "matrices (G, m, n), masks (G, H, W) and their kind (mask or mri), masks and coil_maps, or angles (G, views)"


def read_operators(path: str | Path, image_shape: Sequence[int] | None = None) -> OperatorFamily:
    """The family stored in ``path``.

    ``.npz`` holds ``matrices`` (G, m, n) and, where they differ, ``rows`` (G,); or ``masks`` (G, H, W) or (G, W), of
    pixels or, with ``kind`` "mri", of k-space; or ``masks`` and ``coil_maps`` (coils, H, W) complex; or ``angles``
    (G, views) of CT; beside them, where wanted, ``image_shape`` (C, H, W). ``.npy`` is a matrix (m, n) or (G, m, n). A
    published file (``.pt``, ``.pth.tar``), or a folder of them, is read by ``read_published_operators``.

    Args:
        path: the file or folder.
        image_shape: where the file has none; a matrix's columns make a square image where neither does, or a row.

    Raises:
        UserError: naming the file, what was found and what was expected.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"operators {path} not found: check the path")
    if path.is_dir() or path.suffix in (".pt", ".pth", ".tar"):
        return read_published_operators(path, image_shape)
    arrays = _arrays(path)
    if "image_shape" in arrays:
        stored = tuple(int(size) for size in arrays["image_shape"])
        if image_shape is not None and stored != tuple(image_shape):
            raise UserError(f"{path} is for images of shape {stored}, but they have shape {tuple(image_shape)}")
        image_shape = stored
    try:
        return _family({name: np.asarray(array) for name, array in arrays.items()}, image_shape)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"matrices": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{path} is not a readable .npy or .npz file: operators are {_LAYOUT}") from error


def _family(arrays: dict[str, np.ndarray], image_shape: Sequence[int] | None) -> OperatorFamily:
    kind = str(arrays["kind"]) if "kind" in arrays else None
    if kind is not None and kind not in _KINDS:
        raise UserError(f"unknown kind of operators {kind!r}; known: {', '.join(_KINDS)}")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{name} holds NaN or infinite entries")
    if "matrix" in arrays or "matrices" in arrays:
        matrices = arrays["matrices"] if "matrices" in arrays else arrays["matrix"]
        matrices = matrices[None] if matrices.ndim == 2 else matrices
        if matrices.ndim != 3 or matrices.dtype.kind not in "fiub":
            raise UserError(f"matrices are real (G, m, n) or (m, n), found {matrices.dtype} {matrices.shape}")
        rows = torch.from_numpy(arrays["rows"]) if "rows" in arrays else None
        shape = image_shape or _guess_shape(matrices.shape[2])
        return DenseOperators(torch.from_numpy(matrices.astype(np.float32)), shape, rows)
    if "angles" in arrays:
        return TomographyOperators(torch.from_numpy(arrays["angles"]), _needed(image_shape, "angles"))
    if "masks" not in arrays:
        raise UserError(f"holds {', '.join(arrays) or 'nothing'}; expected {_LAYOUT}")
    masks = torch.from_numpy(arrays["masks"].astype(np.float32))
    masks = masks[None] if masks.ndim == 1 else masks
    if "coil_maps" in arrays:
        return MultiCoilMRIOperators(masks, torch.from_numpy(arrays["coil_maps"]).to(torch.complex64), image_shape)
    if kind == "mri" or (kind is None and masks.ndim == 2):
        shape = image_shape or ((2, *masks.shape[1:]) if masks.ndim == 3 else None)
        return MRIOperators(masks, _needed(shape, "column masks"))
    return MaskOperators(masks, image_shape or (1, *masks.shape[-2:]))


def _needed(image_shape: Sequence[int] | None, what: str) -> Sequence[int]:
    if image_shape is None:
        raise UserError(f"{what} do not tell the images' shape: store image_shape (C, H, W) beside them")
    return image_shape


def _guess_shape(n: int) -> tuple[int, int, int]:
    side = round(n**0.5)
    return (1, side, side) if side * side == n else (1, 1, n)


def write_operators(family: OperatorFamily, path: str | Path) -> None:
    """Write a family as ``.npz`` that ``read_operators`` reads."""
    arrays: dict[str, Any] = {name: value.cpu().numpy() for name, value in family.stored().items()}
    if not arrays:
        raise UserError("operators that are functions cannot be written to a file")
    if family.kind == "mri":
        arrays["masks"] = arrays["masks"][:, 0] if arrays["masks"].shape[1] == 1 else arrays["masks"]
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, kind=family.kind, image_shape=np.array(family.image_shape), **arrays)
