"""Clouds written as npz, PLY and the text form of the published code: whole or not at all, and never appended to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shared_utils.files import replacing
from si_adv.data.sample import FRAME

_PLY_TYPES = {"float": "<f4", "uchar": "u1"}


def _array(values: Any, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """Values of a tensor or array as numpy; ValueError where the shape is another (``None``: any size)."""
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.ndim != len(shape) or any(want not in (None, size) for size, want in zip(array.shape, shape, strict=True)):
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return array


def write_npz(path: str | Path, **arrays: Any) -> None:
    """Write named tensors or arrays as a compressed npz; ``points`` and ``normals`` are what ``read_cloud`` looks for."""
    arrays = {
        key: np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value) for key, value in arrays.items()
    }
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def write_ply(
    path: str | Path,
    points: Any,
    normals: Any = None,
    scalar: Any = None,
    colours: Any = None,
    framed: bool = False,
) -> None:
    """Write a cloud as binary PLY.

    Args:
        path: the file.
        points: (N, 3).
        normals: (N, 3).
        scalar: (N,), written as the property ``quality``, by which MeshLab and CloudCompare colour.
        colours: (N, 3) in 0..1.
        framed: the points are as a classifier sees them, and are read back so (see ``sample.FRAME``).

    Raises:
        ValueError: other shapes.
    """
    points = _array(points, (None, 3), "points")
    columns = [(name, "float", points[:, axis]) for axis, name in enumerate("xyz")]
    if normals is not None:
        normals = _array(normals, points.shape, "normals")
        columns += [(f"n{name}", "float", normals[:, axis]) for axis, name in enumerate("xyz")]
    if scalar is not None:
        columns.append(("quality", "float", _array(scalar, (len(points),), "scalar")))
    if colours is not None:
        colours = np.rint(np.clip(_array(colours, points.shape, "colours"), 0, 1) * 255)
        columns += [(name, "uchar", colours[:, axis]) for axis, name in enumerate(("red", "green", "blue"))]
    rows = np.empty(len(points), [(name, _PLY_TYPES[kind]) for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    comment = [f"comment {FRAME}"] if framed else []
    header = ["ply", "format binary_little_endian 1.0", *comment, f"element vertex {len(points)}"]
    header += [f"property {kind} {name}" for name, kind, _ in columns]
    with replacing(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header", ""]).encode() + rows.tobytes())


def write_text(path: str | Path, points: Any, colours: Any = None, framed: bool = False) -> None:
    """Write the text form of the published code, one line ``x y z r g b`` a point, colours (N, 3) in 0..1.

    Without colours the lines end after z. Nine digits, so that float32 coordinates come back exactly. ``framed``: as in
    ``write_ply``, by a comment before the first line.
    """
    points = _array(points, (None, 3), "points")
    rows = points if colours is None else np.concatenate((points, _array(colours, points.shape, "colours")), 1)
    with replacing(path) as temporary:
        header = FRAME if framed else ""
        np.savetxt(temporary, rows, fmt=["%.9g"] * 3 + ["%.4g"] * (rows.shape[1] - 3), header=header)
