"""Single clouds and meshes, in and out, and the few steps that make a model-ready cloud of any of them.

Read: .txt, .xyz and .pts (spaces or commas), .npy, .npz, .ply (ascii and binary), .off, .obj. Written: .npz, .ply and
the text form ``x y z r g b`` of the published code. A file is written whole or not at all, and never appended to.
"""

from __future__ import annotations

import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shared_utils import UserError

log = logging.getLogger(__name__)


class Geometry(NamedTuple):
    """What a file holds: a cloud, or a mesh where there are faces."""

    points: np.ndarray
    """(N, 3) float64, the units of the file."""
    normals: np.ndarray | None = None
    """(N, 3) float64, of the points, as the file has them."""
    faces: np.ndarray | None = None
    """(F, 3) int64 triangles."""


class Sample(NamedTuple):
    """One model-ready cloud. Batches that a ``DataLoader`` makes have the same fields, with a leading dimension."""

    points: Tensor
    """(N, 3) float32, centred on their mean, largest radius one."""
    normals: Tensor
    """(N, 3) float32, unit or zero (undefined); (0, 3) where the data set was told to do without."""
    label: int
    """Class index; -1 where unknown."""
    name: str
    """What the data set or the file calls the cloud."""


# Clouds ---------------------------------------------------------------------------------------------------------------


def normalise(points: np.ndarray, name: str = "cloud") -> tuple[np.ndarray, np.ndarray, float]:
    """Centre on the mean and divide by the largest radius: points (N, 3), the centre (3,) and the radius taken out.

    Raises UserError where all points coincide.
    """
    centre = points.mean(0)
    points = points - centre
    radius = float(np.sqrt(np.einsum("ij,ij->i", points, points).max()))
    if not radius > 1e-12 * (1 + float(np.abs(centre).max())):
        raise UserError(f"{name} has no extent: all its {len(points)} points coincide")
    return points / radius, centre, radius


def sample_triangles(triangles: np.ndarray, num_points: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points uniform by area on triangles (T, 3, 3), with the unit normals of their faces: two arrays (N, 3).

    The normal points to where the corners run counter-clockwise. Raises UserError where the total area is zero.
    """
    origin, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    # Written out, for np.cross is several times slower on so few rows.
    cross = np.empty_like(first)
    cross[:, 0] = first[:, 1] * second[:, 2] - first[:, 2] * second[:, 1]
    cross[:, 1] = first[:, 2] * second[:, 0] - first[:, 0] * second[:, 2]
    cross[:, 2] = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    area = np.sqrt(np.einsum("ij,ij->i", cross, cross))
    reach = np.cumsum(area)
    if not (len(reach) and reach[-1] > 0):
        raise UserError("the mesh has no area to sample points from")
    draw = rng.random((3, num_points))
    chosen = np.searchsorted(reach, draw[0] * reach[-1], side="right")
    u, v = draw[1:, :, None]
    # The unit square folded onto the triangle u + v <= 1.
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return origin[chosen] + u * first[chosen] + v * second[chosen], cross[chosen] / area[chosen, None]


def prepare_cloud(
    points: np.ndarray, normals: np.ndarray | None, num_points: int | None, name: str, allow_upsample: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first ``num_points`` rows (``None``: all), normalised; float32. Normals are cut alike and scaled to unit length.

    With fewer rows than asked for, ``allow_upsample`` repeats them from the first; otherwise, as for values that are
    not finite and clouds without extent, UserError names the cloud.
    """
    if num_points is not None and len(points) != num_points:
        if len(points) < num_points:
            if not allow_upsample:
                raise UserError(
                    f"{name} has {len(points)} points and {num_points} are asked for: ask for fewer or allow upsampling"
                )
            log.info("%s: its %d points are repeated to %d", name, len(points), num_points)
        rows = np.arange(num_points) % max(len(points), 1)
        points, normals = points[rows], None if normals is None else normals[rows]
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise UserError(f"{name}: point {int(bad.argmax())} (counted from 0) is NaN or infinite")
    points = normalise(points.astype(np.float64), name)[0].astype(np.float32)
    if normals is not None:
        normals = np.where(np.isfinite(normals), normals, 0.0)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = (normals / np.where(length > 1e-6, length, np.inf)).astype(np.float32)
    return points, normals


def complete_normals(points: np.ndarray, normals: np.ndarray | None) -> np.ndarray:
    """``normals`` (N, 3) with the missing ones (zero, or all where ``None``) estimated from the 20 nearest points."""
    missing = np.ones(len(points), bool) if normals is None else ~normals.any(1)
    if not missing.any():
        return normals
    from si_adv.geometry import estimate_normals

    estimated = estimate_normals(torch.from_numpy(points)[None])[0].numpy()
    return estimated if normals is None else np.where(missing[:, None], estimated, normals)


def read_cloud(
    path: str | Path, num_points: int | None = 1024, label: int = -1, seed: int = 0, allow_upsample: bool = False
) -> Sample:
    """One model-ready cloud from any supported file.

    Of a cloud the first ``num_points`` rows are taken (``None``: all); a mesh is sampled by area, from ``seed``, with
    the normals of its faces (``None``: 1024 points). Normals that the file lacks are estimated, which is logged.

    Raises UserError, naming the file (and the line, for text), for what cannot be read or used.
    """
    path = Path(path)
    points, normals = sample_geometry(read_geometry(path), num_points or 1024, np.random.default_rng(seed), str(path))
    points, normals = prepare_cloud(points, normals, num_points, str(path), allow_upsample)
    if normals is None:
        log.info("%s has no normals: estimated from the 20 nearest points", path)
    normals = complete_normals(points, normals)
    return Sample(torch.from_numpy(points), torch.from_numpy(normals), label, path.stem)


def sample_geometry(
    geometry: Geometry, num_points: int, rng: np.random.Generator, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Points and normals of a geometry: of a cloud all that it has, of a mesh ``num_points`` drawn by area."""
    if geometry.faces is None:
        return geometry.points, geometry.normals
    try:
        return sample_triangles(geometry.points[geometry.faces], num_points, rng)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


# Reading --------------------------------------------------------------------------------------------------------------


def read_geometry(path: str | Path) -> Geometry:
    """What a file holds, unchanged: see ``Geometry``. The suffix decides the format.

    Columns four to six of a table are taken for normals where they look like normals: of unit length, and some of them
    negative, which colours never are.

    Raises UserError for a file that is missing, of an unknown kind, damaged, or not finite.
    """
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise UserError(f"{path}: unknown kind of file; known: {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"{path} not found")
    geometry = _READERS[path.suffix.lower()](path)
    if not len(geometry.points):
        raise UserError(f"{path} holds no points")
    return geometry


def read_table(path: Path, max_rows: int | None = None) -> np.ndarray:
    """A text file of numbers as (rows, columns) float64: spaces or commas; empty lines and # comments are skipped.

    ``max_rows`` stops early, without reading the rest. Raises UserError naming file and line for a value that is not a
    finite number and for a row of another length than the first.
    """
    return _parse_table(path, *_read_lines(path, max_rows))


def _read_lines(path: Path, max_lines: int | None = None) -> tuple[list[str], list[int]]:
    """Lines that say something, without comments and commas, and their numbers in the file."""

    def speaking(text: str) -> list[tuple[str, int]]:
        lines = text.replace(",", " ").splitlines()
        if "#" in text:
            lines = [line.partition("#")[0] for line in lines]
        return [(line, number) for number, line in enumerate(lines, 1) if line and not line.isspace()]

    with path.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read() if max_lines is None else "".join(islice(stream, max_lines))
        kept = speaking(text)
        if max_lines is not None and len(kept) < max_lines:
            text += stream.read()
            kept = speaking(text)[:max_lines]
    if text.lstrip()[:1] == "<":
        raise UserError(f"{path} is a web page or XML, not a table of points: the download failed, fetch it again")
    if "\0" in text:
        raise UserError(f"{path} is not a text file")
    if not kept:
        raise UserError(f"{path} is empty")
    return [line for line, _ in kept], [number for _, number in kept]


def _parse_table(path: Path, lines: list[str], numbers: list[int]) -> np.ndarray:
    if not lines:
        return np.empty((0, 3))
    try:
        table = np.loadtxt(lines, dtype=np.float64, ndmin=2, comments=None)
    except ValueError:
        columns = len(lines[0].split())
        for line, number in zip(lines, numbers, strict=True):
            tokens = line.split()
            if len(tokens) != columns:
                raise UserError(f"{path}, line {number}: {len(tokens)} columns where {columns} are expected") from None
            for token in tokens:
                try:
                    float(token)
                except ValueError:
                    raise UserError(f"{path}, line {number}: {token!r} is not a number") from None
        raise
    bad = ~np.isfinite(table).all(1)
    if bad.any():
        raise UserError(f"{path}, line {numbers[int(bad.argmax())]}: NaN or infinite value")
    return table


def _cloud(path: Path, table: np.ndarray, where: str, columns: Sequence[int] = ()) -> Geometry:
    """A table whose first columns are x y z; ``columns`` are counts allowed besides 3 and 6 or more."""
    if table.shape[1] < 3 or table.shape[1] in {4, 5} - set(columns):
        raise UserError(f"{path}{where}: {table.shape[1]} columns; expected x y z, or x y z nx ny nz and more")
    if table.shape[1] < 6:
        return Geometry(table[:, :3])
    normals = table[:, 3:6]
    length = np.linalg.norm(normals, axis=1)
    are_normals = (normals < 0).any() and (np.abs(length[length > 0] - 1) < 0.02).mean() > 0.95
    return Geometry(table[:, :3], normals if are_normals else None)


def _read_text(path: Path) -> Geometry:
    lines, numbers = _read_lines(path)
    return _cloud(path, _parse_table(path, lines, numbers), f", line {numbers[0]}")


def _read_pts(path: Path) -> Geometry:
    """Rows of x y z [intensity] [r g b], at times after a line with their count."""
    lines, numbers = _read_lines(path)
    if lines[0].split() == [lines[0].strip()] and lines[0].strip().isdigit():
        count = int(lines[0])
        if len(lines) - 1 < count:
            raise UserError(f"{path} is truncated: it announces {count} points and has {len(lines) - 1}")
        lines, numbers = lines[1 : count + 1], numbers[1 : count + 1]
    return _cloud(path, _parse_table(path, lines, numbers), f", line {numbers[0] if numbers else 1}", columns=(4,))


def _load_numpy(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} not found")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a readable {path.suffix[1:]} file ({error})") from None


def open_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file. Raises UserError where it is missing or damaged; never runs code from it."""
    path = Path(path)
    archive = _load_numpy(path)
    if isinstance(archive, np.ndarray):
        raise UserError(f"{path} is a single array, not an npz archive: name it .npy")
    try:
        with archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error})") from None


def _checked_rows(path: Path, table: np.ndarray, what: str) -> np.ndarray:
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.number):
        raise UserError(f"{path}: {what} has shape {table.shape} ({table.dtype}); expected one cloud (N, 3) or (N, 6+)")
    table = table.astype(np.float64)
    bad = ~np.isfinite(table).all(1)
    if bad.any():
        raise UserError(f"{path}: row {int(bad.argmax())} (counted from 0) of {what} is NaN or infinite")
    return table


def _read_npy(path: Path) -> Geometry:
    array = _load_numpy(path)
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} is an npz archive: name it so")
    return _cloud(path, _checked_rows(path, array, "the array"), "")


def _read_npz(path: Path) -> Geometry:
    arrays = open_arrays(path)
    if "points" not in arrays and len(arrays) != 1:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}; expected 'points', and 'normals' where known")
    name = "points" if "points" in arrays else next(iter(arrays))
    cloud = _cloud(path, _checked_rows(path, arrays[name], repr(name)), "")
    if "normals" not in arrays:
        return cloud
    normals = _checked_rows(path, arrays["normals"], "'normals'")
    if normals.shape != cloud.points.shape:
        raise UserError(f"{path}: 'normals' has shape {normals.shape}, the points {cloud.points.shape}")
    return cloud._replace(normals=normals)


def _fan(path: Path, polygons: Sequence[tuple[np.ndarray, np.ndarray]], num_vertices: int) -> np.ndarray:
    """Triangles (F, 3) of polygons given as pairs (corners (n, k), where each stands in the file (n,))."""
    triangles = [np.empty((0, 3), np.int64)]
    for corners, places in polygons:
        bad = ((corners < 0) | (corners >= num_vertices)).any(1)
        if bad.any():
            raise UserError(
                f"{path}, {'line' if places.dtype.kind == 'i' else 'face'} {int(places[bad.argmax()])}: "
                f"a corner beyond the {num_vertices} vertices"
            )
        for last in range(2, corners.shape[1]):
            triangles.append(corners[:, [0, last - 1, last]])
    return np.concatenate(triangles)


def _polygon_lines(path: Path, lines: list[str], numbers: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Polygons of lines ``k i_1 .. i_k [colour]``, grouped by k, as ``_fan`` takes them."""
    places = np.array(numbers, np.int64)
    try:
        table = np.loadtxt(lines, dtype=np.int64, ndmin=2, comments=None)
        size = table[0, 0]
        if (table[:, 0] == size).all() and 0 < size < table.shape[1]:
            return [(table[:, 1 : size + 1], places)]
    except ValueError:
        pass  # polygons of several sizes, or colours behind them: read one by one below
    groups: dict[int, tuple[list, list]] = {}
    for line, number in zip(lines, numbers, strict=True):
        tokens = line.split()
        try:
            size = int(tokens[0])
            corners = [int(token) for token in tokens[1 : size + 1]]
        except ValueError:
            raise UserError(f"{path}, line {number}: a face is a count and that many whole numbers") from None
        if len(corners) < size or size < 1:
            raise UserError(f"{path}, line {number}: a face with {len(corners)} of its {size} corners")
        rows, places_of = groups.setdefault(size, ([], []))
        rows.append(corners)
        places_of.append(number)
    return [(np.array(rows, np.int64), np.array(where, np.int64)) for rows, where in groups.values()]


def _read_off(path: Path) -> Geometry:
    """Object File Format; the counts may stand on the header line, even glued to it (``OFF490 518 0``)."""
    lines, numbers = _read_lines(path)
    header = re.match(r"\s*(ST)?C?N?OFF(?P<rest>.*)", lines[0])
    if not header:
        raise UserError(f"{path}, line {numbers[0]}: not an OFF file (it begins with {lines[0][:20]!r})")
    start = 0 if header["rest"].strip() else 1
    counts = (header["rest"] if start == 0 else lines[1] if len(lines) > 1 else "").split()
    if len(counts) < 2 or not all(token.isdigit() for token in counts):
        raise UserError(
            f"{path}, line {numbers[min(start, len(lines) - 1)]}: expected the counts of vertices and faces"
        )
    num_vertices, num_faces = int(counts[0]), int(counts[1])
    first = start + 1
    if len(lines) < first + num_vertices + num_faces:
        raise UserError(
            f"{path} is truncated: it ends at line {numbers[-1]} and announces {num_vertices} vertices and {num_faces} faces"
        )
    middle, last = first + num_vertices, first + num_vertices + num_faces
    vertices = _parse_table(path, lines[first:middle], numbers[first:middle])
    if vertices.shape[1] < 3:
        raise UserError(f"{path}, line {numbers[first]}: {vertices.shape[1]} columns; expected x y z")
    if not num_faces:
        return Geometry(vertices[:, :3])
    polygons = _polygon_lines(path, lines[middle:last], numbers[middle:last])
    return Geometry(vertices[:, :3], faces=_fan(path, polygons, num_vertices))


def _read_obj(path: Path) -> Geometry:
    """Wavefront: v, vn and f; texture, groups and materials are passed over."""
    lines, numbers = _read_lines(path)
    lines = [line.strip() for line in lines]

    def table(keyword: str) -> tuple[np.ndarray, np.ndarray]:
        rows = [index for index, line in enumerate(lines) if line.startswith((keyword + " ", keyword + "\t"))]
        places = [numbers[index] for index in rows]
        return _parse_table(path, [lines[index][len(keyword) :] for index in rows], places), np.array(places, np.int64)

    (vertices, vertex_lines), (normals, _) = table("v"), table("vn")
    if vertices.shape[1] < 3:
        raise UserError(f"{path}, line {vertex_lines[0]}: {vertices.shape[1]} columns; expected v x y z")
    groups: dict[int, tuple[list, list]] = {}
    for line, number in zip(lines, numbers, strict=True):
        if line.startswith(("f ", "f\t")):
            try:
                corners = [int(token.partition("/")[0]) for token in line.split()[1:]]
            except ValueError:
                raise UserError(f"{path}, line {number}: a corner of a face is a whole number, or v/vt/vn") from None
            rows, places = groups.setdefault(len(corners), ([], []))
            rows.append(corners)
            places.append(number)
    if not groups:
        return Geometry(vertices[:, :3], normals if len(normals) == len(vertices) else None)
    polygons = []
    for rows, places in groups.values():
        corners, places = np.array(rows, np.int64), np.array(places, np.int64)
        # Counted from one; negative: back from the vertices read so far.
        seen = np.searchsorted(vertex_lines, places)[:, None]
        polygons.append((np.where(corners < 0, seen + corners, corners - 1), places))
    return Geometry(vertices[:, :3], faces=_fan(path, polygons, len(vertices)))


_PLY_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}


class _Property(NamedTuple):
    name: str
    kind: str
    count_kind: str | None = None  # of a list


class _Element(NamedTuple):
    name: str
    count: int
    properties: list[_Property]


def _ply_header(path: Path, data: bytes) -> tuple[str, list[_Element], int, int]:
    """Format, elements, where the body begins, and on which line."""
    end = re.search(rb"^end_header[ \t]*\r?\n", data, re.MULTILINE)
    if not data.startswith(b"ply") or not end:
        raise UserError(f"{path} is not a PLY file, or its header has no end")
    form, elements = "", []
    header = data[: end.start()].decode("ascii", "replace").splitlines()
    for number, line in enumerate(header, 1):
        match line.split():
            case ["format", name, *_]:
                form = name
            case ["element", name, count] if count.isdigit():
                elements.append(_Element(name, int(count), []))
            case ["property", "list", count, kind, name] if elements and {count, kind} <= _PLY_TYPES.keys():
                elements[-1].properties.append(_Property(name, _PLY_TYPES[kind], _PLY_TYPES[count]))
            case ["property", kind, name] if elements and kind in _PLY_TYPES:
                elements[-1].properties.append(_Property(name, _PLY_TYPES[kind]))
            case ["ply"] | ["comment" | "obj_info", *_] | []:
                pass
            case _:
                raise UserError(f"{path}, line {number}: {line.strip()!r} is not understood in a PLY header")
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise UserError(f"{path}: PLY format {form!r} is unknown")
    return form, elements, end.end(), len(header) + 2


def _ply_binary(path: Path, element: _Element, data: bytes, offset: int, order: str) -> tuple[dict, int]:
    """Columns by name, and where the next element begins; a list is an object array, or (n, k) where all have length k."""

    @cache
    def fixed(*lengths: int) -> np.dtype:
        fields, lists = [], iter(lengths)
        for item in element.properties:
            if item.count_kind is None:
                fields.append((item.name, order + item.kind))
            else:
                fields += [
                    (f"{item.name}/count", order + item.count_kind),
                    (item.name, order + item.kind, (next(lists),)),
                ]
        return np.dtype(fields)

    def lengths_at(position: int) -> tuple[list[int], int]:
        lengths = []
        for item in element.properties:
            if item.count_kind is not None:
                kind = np.dtype(order + item.count_kind)
                lengths.append(int(np.frombuffer(data, kind, 1, position)[0]))
                position += kind.itemsize + lengths[-1] * np.dtype(item.kind).itemsize
            else:
                position += np.dtype(item.kind).itemsize
        return lengths, position

    try:
        if not element.count:
            return {}, offset
        lengths, _ = lengths_at(offset)
        kind = fixed(*lengths)
        lists = [item.name for item in element.properties if item.count_kind is not None]
        if len(data) - offset >= element.count * kind.itemsize:
            rows = np.frombuffer(data, kind, element.count, offset)
            if all((rows[f"{name}/count"] == length).all() for name, length in zip(lists, lengths, strict=True)):
                return {name: rows[name] for name in kind.names}, offset + element.count * kind.itemsize
        if not lists:
            raise ValueError
        columns: dict[str, list] = {item.name: [] for item in element.properties}
        for _ in range(element.count):
            lengths, end = lengths_at(offset)
            row = np.frombuffer(data, fixed(*lengths), 1, offset)[0]
            for name, values in columns.items():
                values.append(row[name])
            offset = end
        return columns, offset
    except ValueError:
        raise UserError(f"{path} is truncated: it ends inside its {element.count} {element.name} entries") from None


def _read_ply(path: Path) -> Geometry:
    data = path.read_bytes()
    form, elements, offset, line = _ply_header(path, data)
    vertices: dict[str, np.ndarray] = {}
    polygons: list[tuple[np.ndarray, np.ndarray]] = []
    lines = data[offset:].decode("ascii", "replace").splitlines() if form == "ascii" else []
    first = 0
    for element in elements:
        listed = next(
            (item.name for item in element.properties if item.name in ("vertex_indices", "vertex_index")), None
        )
        if form == "ascii":
            rows = lines[first : first + element.count]
            numbers = list(range(line + first, line + first + len(rows)))
            first += element.count
            if len(rows) < element.count:
                raise UserError(
                    f"{path} is truncated: {len(rows)} of its {element.count} {element.name} entries are there"
                )
            if element.name == "vertex" and rows:
                table = _parse_table(path, rows, numbers)
                if table.shape[1] != len(element.properties):
                    raise UserError(
                        f"{path}, line {numbers[0]}: {table.shape[1]} columns where {len(element.properties)} are expected"
                    )
                vertices = {item.name: table[:, index] for index, item in enumerate(element.properties)}
            elif element.name == "face" and rows and listed:
                if element.properties[0].name != listed:
                    raise UserError(f"{path}: face properties before {listed} are not supported in ascii")
                polygons = _polygon_lines(path, rows, numbers)
            continue
        columns, offset = _ply_binary(path, element, data, offset, "<" if form.endswith("little_endian") else ">")
        if element.name == "vertex":
            vertices = columns
        elif element.name == "face" and listed and columns:
            corners = columns[listed]
            if isinstance(corners, np.ndarray):
                polygons = [(corners.astype(np.int64), np.arange(len(corners), dtype=np.uint64))]
            else:
                sizes = np.array([len(row) for row in corners])
                for size in np.unique(sizes):
                    members = np.flatnonzero(sizes == size)
                    polygons.append(
                        (np.stack([corners[m] for m in members]).astype(np.int64), members.astype(np.uint64))
                    )

    def columns_of(*names: str) -> np.ndarray | None:
        if not all(name in vertices for name in names):
            return None
        return np.stack([np.asarray(vertices[name], np.float64) for name in names], 1)

    points, normals = columns_of("x", "y", "z"), columns_of("nx", "ny", "nz")
    if points is None:
        raise UserError(f"{path} has no vertices with x, y and z")
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise UserError(f"{path}: vertex {int(bad.argmax())} (counted from 0) is NaN or infinite")
    if not polygons:
        return Geometry(points, normals)
    return Geometry(points, faces=_fan(path, polygons, len(points)))


_READERS: dict[str, Callable[[Path], Geometry]] = {
    ".txt": _read_text,
    ".xyz": _read_text,
    ".pts": _read_pts,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".ply": _read_ply,
    ".off": _read_off,
    ".obj": _read_obj,
}
#: What ``read_cloud`` reads.
CLOUD_SUFFIXES = tuple(_READERS)


# Writing --------------------------------------------------------------------------------------------------------------


def _array(values: Any, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """Values of a tensor or array as numpy; ValueError where the shape is another (``None``: any size)."""
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.ndim != len(shape) or any(want not in (None, size) for size, want in zip(array.shape, shape, strict=True)):
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    return array


def write_npz(path: str | Path, **arrays: Any) -> None:
    """Write named tensors or arrays as a compressed npz; ``points`` and ``normals`` are what ``read_cloud`` looks for."""
    from shared_utils.checkpoint import replacing

    arrays = {
        key: np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value) for key, value in arrays.items()
    }
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def write_ply(path: str | Path, points: Any, normals: Any = None, scalar: Any = None, colours: Any = None) -> None:
    """Write a cloud as binary PLY.

    points, normals: (N, 3). scalar: (N,), written as the property ``quality``, by which MeshLab and CloudCompare colour.
    colours: (N, 3) in 0..1. Raises ValueError for other shapes.
    """
    from shared_utils.checkpoint import replacing

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
    rows = np.empty(len(points), [(name, "<" + _PLY_TYPES[kind]) for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property {kind} {name}" for name, kind, _ in columns]
    with replacing(path) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header", ""]).encode() + rows.tobytes())


def write_text(path: str | Path, points: Any, colours: Any = None) -> None:
    """Write the text form of the published code, one line ``x y z r g b`` a point, colours (N, 3) in 0..1.

    Without colours the lines end after z. Nine digits, so that float32 coordinates come back exactly.
    """
    from shared_utils.checkpoint import replacing

    points = _array(points, (None, 3), "points")
    rows = points if colours is None else np.concatenate((points, _array(colours, points.shape, "colours")), 1)
    with replacing(path) as temporary:
        np.savetxt(temporary, rows, fmt=["%.9g"] * 3 + ["%.4g"] * (rows.shape[1] - 3))
