"""PLY, OBJ and STL through trimesh, and OFF; what trimesh lets pass is checked: a file that is cut off, corners that count back.

Only trimesh's parsers are called, on bytes that are already read: materials and textures that a file names are never
looked for.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shared_utils import UserError
from si_adv.data.sample import FRAME, Geometry
from si_adv.data.text import parse_table, read_lines


@contextmanager
def _parsing(path: Path, kind: str) -> Iterator[None]:
    """One sentence for whatever a parser runs into."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # What newer versions of numpy raise, and older ones leave at a warning.
            warnings.filterwarnings("error", message="string or file could not be read to its end")
            yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # trimesh raises what its parsing happens to meet
        reason = str(error)
        if isinstance(error, IndexError):
            reason = "it ends early, or a face has a vertex that is not there"
        elif isinstance(error, KeyError):
            reason = f"{error} is missing or not understood"
        elif "read to its end" in reason:
            reason = "something in it is not a number"
        raise UserError(f"{path} is not a readable {kind} file ({reason}): export it again") from None


def _geometry(path: Path, points: Any, normals: Any = None, faces: Any = None) -> Geometry:
    """What was read as float64 points and triangles; UserError for values that cannot be used."""
    points = np.asarray(points, np.float64)
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise UserError(f"{path}: vertex {int(bad.argmax())} (counted from 0) is NaN or infinite")
    if faces is None or not len(faces):
        fits = normals is not None and np.shape(normals) == points.shape
        return Geometry(points, np.asarray(normals, np.float64) if fits else None)
    if not isinstance(faces, np.ndarray) or faces.ndim != 2 or faces.shape[1] != 3:
        from trimesh.geometry import triangulate_quads

        faces = triangulate_quads(faces)
    triangles = np.asarray(faces, np.int64)
    bad = ((triangles < 0) | (triangles >= len(points))).any(1)
    if bad.any():
        raise UserError(f"{path}: a face has a corner beyond the {len(points)} vertices")
    return Geometry(points, faces=triangles)


def read_off(path: Path) -> Geometry:
    """Object File Format; the counts may stand on the header line, even glued to it (``OFF490 518 0``).

    Read here and not by trimesh, which takes seven times as long for the 12,311 files of ModelNet40, and takes a file
    that is cut off for a smaller mesh.
    """
    lines, numbers = read_lines(path)
    header = re.match(r"\s*(ST)?C?N?OFF(?P<rest>.*)", lines[0])
    if not header:
        raise UserError(f"{path}, line {numbers[0]}: not an OFF file (it begins with {lines[0][:20]!r})")
    start = 0 if header["rest"].strip() else 1
    counts = (header["rest"] if start == 0 else lines[1] if len(lines) > 1 else "").split()
    if len(counts) < 2 or not all(token.isdigit() for token in counts):
        place = numbers[min(start, len(lines) - 1)]
        raise UserError(f"{path}, line {place}: expected the counts of vertices and faces")
    first = start + 1
    middle, last = first + int(counts[0]), first + int(counts[0]) + int(counts[1])
    if len(lines) < last:
        raise UserError(
            f"{path} is truncated: it ends at line {numbers[-1]} and announces {counts[0]} vertices and {counts[1]} faces"
        )
    vertices = parse_table(path, lines[first:middle], numbers[first:middle])
    if vertices.shape[1] < 3:
        raise UserError(f"{path}, line {numbers[first]}: {vertices.shape[1]} columns; expected x y z")
    with _parsing(path, "OFF"):
        return _geometry(path, vertices[:, :3], faces=_polygons(path, lines[middle:last], numbers[middle:last]))


def _polygons(path: Path, lines: list[str], numbers: list[int]) -> np.ndarray | list[list[int]]:
    """Corners of lines ``k i_1 .. i_k [colour]``: (F, k) where they are all alike, else a list a face."""
    try:
        table = np.loadtxt(lines, dtype=np.int64, ndmin=2, comments=None)
        if (table[:, 0] == table.shape[1] - 1).all():
            return table[:, 1:]
    except ValueError:
        pass  # polygons of several sizes, or colours behind them
    polygons = []
    for line, number in zip(lines, numbers, strict=True):
        size, *corners = line.split()
        try:
            polygons.append([int(corner) for corner in corners[: int(size)]])
        except ValueError:
            raise UserError(f"{path}, line {number}: a face is a count and that many whole numbers") from None
        if len(polygons[-1]) != int(size):
            raise UserError(f"{path}, line {number}: a face with {len(corners)} of its {size} corners")
    return polygons


def read_obj(path: Path) -> Geometry:
    """Wavefront: v, vn and f; textures, groups and materials are left out."""
    from trimesh.exchange.obj import load_obj

    lines, numbers = read_lines(path)
    kept = [(line, number) for line, number in zip(map(str.strip, lines), numbers, strict=True) if line[:1] in "vf"]
    for line, number in kept:
        if line.startswith("v ") and len(line.split()) < 4:
            raise UserError(f"{path}, line {number}: expected v x y z")
    text = re.sub(r"(?<=\d)/\S*", "", "\n".join(line for line, _ in kept))  # v/vt/vn: the vertex alone
    if re.search(r"^f\b.*[ \t](-\d|0(?=\s|$))", text, re.MULTILINE):
        text = _count_from_the_start(path, text, [number for _, number in kept])
    with _parsing(path, "OBJ"):
        loaded = load_obj(io.StringIO(text), skip_materials=True, maintain_order=True)
        if "geometry" not in loaded:
            return _geometry(path, loaded["vertices"], loaded.get("vertex_normals"))
        (mesh,) = loaded["geometry"].values()
        return _geometry(path, mesh["vertices"], faces=mesh["faces"])


def _count_from_the_start(path: Path, text: str, numbers: list[int]) -> str:
    """Corners that count back from the vertices read so far (-1 is the last one), as numbers that count from one."""
    lines, seen = text.splitlines(), 0
    for index, line in enumerate(lines):
        keyword, *values = line.split()
        seen += keyword == "v"
        if keyword == "f":
            try:
                corners = [int(value) for value in values]
            except ValueError:
                raise UserError(
                    f"{path}, line {numbers[index]}: a corner of a face is a whole number, or v/vt/vn"
                ) from None
            corners = [seen + 1 + corner if corner < 0 else corner for corner in corners]
            if min(corners, default=1) < 1:
                raise UserError(f"{path}, line {numbers[index]}: a corner beyond the {seen} vertices")
            lines[index] = f"f {' '.join(map(str, corners))}"
    return "\n".join(lines)


def read_ply(path: Path) -> Geometry:
    """PLY, ascii and binary of either byte order; polygons of any size, also of several sizes in one file."""
    from trimesh.exchange.ply import load_ply

    data = path.read_bytes()
    if not data.startswith(b"ply"):
        raise UserError(f"{path} is not a PLY file: it does not begin with ply")
    with _parsing(path, "PLY"):
        try:
            loaded = load_ply(io.BytesIO(data), fix_texture=False, skip_materials=True)
        except ValueError as error:
            if b"\nformat binary" not in data[:400] or "length" not in str(error):
                raise
            loaded = load_ply(io.BytesIO(_as_ascii(data)), fix_texture=False, skip_materials=True)
        for name, element in loaded["metadata"]["_ply_raw"].items():
            if name in ("vertex", "face") and _rows(element.get("data")) != element["length"]:
                raise UserError(f"{path} is truncated: it ends inside its {element['length']} {name} entries")
        if "vertices" not in loaded:
            raise UserError(f"{path} holds no points")
        geometry = _geometry(path, loaded["vertices"], loaded.get("vertex_normals"), loaded.get("faces"))
    header = data.partition(b"\nend_header")[0]
    return geometry._replace(framed=f"\ncomment {FRAME}".encode() in header)


def read_stl(path: Path) -> Geometry:
    """Stereolithography, ascii and binary."""
    from trimesh.exchange.stl import load_stl

    data = path.read_bytes()
    with _parsing(path, "STL"):
        if not data.startswith(b"solid"):
            facets = int.from_bytes(data[80:84], "little")
            if len(data) < 84 or len(data) < 84 + 50 * facets:
                raise UserError(
                    f"{path} is truncated: it announces {facets} facets and has {max(len(data) - 84, 0) // 50}"
                )
        loaded = load_stl(io.BytesIO(data))
        if "geometry" in loaded:
            raise UserError(f"{path} holds {len(loaded['geometry'])} solids: save them as one")
        if not len(loaded["faces"]):
            raise UserError(f"{path} holds no facets")
        return _geometry(path, loaded["vertices"], faces=loaded["faces"])


def _rows(columns: Any) -> int:
    """Number of rows of an element as trimesh keeps it: an array, or arrays by name."""
    if isinstance(columns, dict):
        return len(next(iter(columns.values()), ()))
    return 0 if columns is None else len(columns)


_CODES = {
    **dict.fromkeys(("char", "int8"), "b"),
    **dict.fromkeys(("uchar", "uint8"), "B"),
    **dict.fromkeys(("short", "int16"), "h"),
    **dict.fromkeys(("ushort", "uint16"), "H"),
    **dict.fromkeys(("int", "int32"), "i"),
    **dict.fromkeys(("uint", "uint32"), "I"),
    **dict.fromkeys(("float", "float32"), "f"),
    **dict.fromkeys(("double", "float64"), "d"),
}


def _as_ascii(data: bytes) -> bytes:
    """A binary PLY as an ascii one: trimesh reads polygons of several sizes only there.

    Raises ValueError where the file ends early.
    """
    end = re.search(rb"^end_header[ \t]*\r?\n", data, re.MULTILINE)
    if not end:
        raise ValueError("its header has no end")
    header = data[: end.end()].decode("ascii", "replace")
    order, offset, rows = ">" if "binary_big_endian" in header else "<", end.end(), []
    elements: list[tuple[int, list[list[str]]]] = []
    for line in header.splitlines():
        match line.split():
            case ["element", _, count]:
                elements.append((int(count), []))
            case ["property", *kinds, _]:
                elements[-1][1].append([_CODES[kind] for kind in kinds if kind != "list"])
    try:
        for count, properties in elements:
            for _ in range(count):
                row: list[Any] = []
                for codes in properties:
                    code = codes[-1]
                    if len(codes) == 2:
                        (size,) = struct.unpack_from(order + codes[0], data, offset)
                        offset += struct.calcsize(codes[0])
                        row.append(size)
                        code = f"{size}{code}"
                    row += struct.unpack_from(order + code, data, offset)
                    offset += struct.calcsize("=" + code)
                rows.append(" ".join(map(repr, row)))
    except struct.error:
        raise ValueError("it is truncated") from None
    return "\n".join([re.sub(r"format \w+", "format ascii", header).rstrip(), *rows, ""]).encode()
