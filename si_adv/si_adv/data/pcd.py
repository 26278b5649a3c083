"""Point Cloud Data, the format of the Point Cloud Library: ascii and binary."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shared_utils import UserError
from si_adv.data.sample import Geometry

_NORMALS = ("normal_x", "normal_y", "normal_z")


def read_pcd(path: Path) -> Geometry:
    """x y z and, where the file has them, normals; other fields are left out.

    Points that a scanner has marked as missing, by NaN in every coordinate, are left out too.

    Raises:
        UserError: not such a file, compressed, cut off, or other values that are not finite.
    """
    content = path.read_bytes()
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header:
        end = content.find(b"\n", start)
        words = content[start : max(end, start)].decode("ascii", "replace").partition("#")[0].split()
        if end < 0 or (words and not words[0].isupper()):
            raise UserError(f"{path} is not a PCD file: its header has no line DATA")
        start = end + 1
        if words:
            header[words[0]] = words[1:]
    try:
        names, sizes, kinds = header["FIELDS"], map(int, header["SIZE"]), header["TYPE"]
        counts = [int(count) for count in header.get("COUNT", ["1"] * len(names))]
        points = int(header["POINTS"][0]) if "POINTS" in header else int(header["WIDTH"][0]) * int(header["HEIGHT"][0])
        kind = header["DATA"][0]
        fields = zip(names, kinds, sizes, counts, strict=True)
        layout = np.dtype([(f"{i} {n}", f"<{k.lower()}{size}", (c,)) for i, (n, k, size, c) in enumerate(fields)])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"{path} is not a readable PCD file ({error!r} in its header): export it again") from None
    if kind not in ("ascii", "binary"):
        raise UserError(f"{path} is a PCD file of kind {kind}: save it as ascii or binary")
    if not {"x", "y", "z"} <= set(names):
        raise UserError(f"{path} has the fields {' '.join(names)}: expected x, y and z among them")
    columns = (
        _ascii(path, content[start:], points, counts)
        if kind == "ascii"
        else _binary(path, content[start:], points, layout)
    )
    table = dict(zip(names, columns, strict=True))
    xyz = np.stack([table[name] for name in "xyz"], 1).astype(np.float64)
    there = ~np.isnan(xyz).all(1)
    bad = ~np.isfinite(xyz[there]).all(1)
    if bad.any():
        raise UserError(
            f"{path}: a point, {int(np.flatnonzero(there)[bad.argmax()])} (counted from 0), is NaN or infinite"
        )
    normals = (
        np.stack([table[name] for name in _NORMALS], 1).astype(np.float64)[there]
        if set(_NORMALS) <= set(names)
        else None
    )
    return Geometry(xyz[there], normals)


def _ascii(path: Path, body: bytes, points: int, counts: list[int]) -> list[np.ndarray]:
    """The first value of every field."""
    rows = [line.split() for line in body.decode("ascii", "replace").splitlines() if line.strip()]
    _check_length(path, len(rows), points)
    for number, row in enumerate(rows[:points], 1):
        if len(row) != sum(counts):
            raise UserError(f"{path}, point {number}: {len(row)} values where {sum(counts)} are expected")
    try:
        table = np.array(rows[:points], np.float64).reshape(points, sum(counts))
    except ValueError as error:
        raise UserError(f"{path} holds something that is not a number ({error})") from None
    return list(table[:, np.cumsum([0, *counts[:-1]])].T)


def _binary(path: Path, body: bytes, points: int, layout: np.dtype) -> list[np.ndarray]:
    _check_length(path, len(body) // layout.itemsize, points)
    rows = np.frombuffer(body, layout, points)
    return [rows[name][:, 0] for name in rows.dtype.names or ()]


def _check_length(path: Path, found: int, points: int) -> None:
    if found < points:
        raise UserError(f"{path} is truncated: it announces {points} points and has {found}")
