"""Single clouds and meshes read from the files that people have.

Read: .txt, .xyz, .pts and .csv (spaces, commas or semicolons), .npy, .npz, .pcd, .ply and .stl (ascii and binary), .off,
.obj.
"""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared_utils import UserError
from si_adv.data.meshes import read_obj, read_off, read_ply, read_stl
from si_adv.data.pcd import read_pcd
from si_adv.data.sample import FRAME, Geometry, Sample, complete_normals, prepare_cloud, sample_geometry
from si_adv.data.text import encoding, parse_table, read_lines

log = logging.getLogger(__name__)


def read_cloud(
    path: str | Path, num_points: int | None = 1024, label: int = -1, seed: int = 0, allow_upsample: bool = False
) -> Sample:
    """One model-ready cloud from any supported file. Normals that the file lacks are estimated, which is logged.

    Args:
        path: the file; its ending decides the format.
        num_points: of a cloud the first rows are taken (None: all); a mesh is sampled by area, with the normals of its
            faces (None: 1024 points).
        label: class index, if known.
        seed: of the points drawn on a mesh.
        allow_upsample: repeat the points of a cloud that has too few.

    Raises:
        UserError: it cannot be read or used; names the file (and the line, for text).
    """
    path = Path(path)
    cloud = sample_geometry(read_geometry(path), num_points or 1024, np.random.default_rng(seed), str(path))
    return _sample(cloud, num_points, label, str(path), path.stem, allow_upsample)


def _sample(cloud: Geometry, num_points: int | None, label: int, where: str, name: str, allow_upsample: bool) -> Sample:
    points, normals = prepare_cloud(cloud.points, cloud.normals, num_points, where, allow_upsample, cloud.framed)
    if normals is None:
        log.info("%s has no normals: estimated from the 20 nearest points", where)
    normals = complete_normals(points, normals)
    return Sample(torch.from_numpy(points), torch.from_numpy(normals), label, name)


def read_clouds(path: str | Path, num_points: int | None = 1024, allow_upsample: bool = False) -> list[Sample]:
    """All clouds of a file: those of an npz that ``attack.py`` wrote, one from any other; see ``read_cloud``."""
    path = Path(path)
    if not holds_attack(path):
        return [read_cloud(path, num_points, allow_upsample=allow_upsample)]
    arrays = open_arrays(path)
    clouds = zip(arrays["adv"], arrays["label"].tolist(), arrays["name"].tolist(), strict=True)
    return [
        _sample(Geometry(points, framed=True), num_points, label, f"{path}, {name}", name, allow_upsample)
        for points, label, name in clouds
    ]


def array_names(path: Path) -> list[str]:
    """The arrays of an npz by name, without reading them; none where the file is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


def holds_attack(path: Path) -> bool:
    """Whether a file is an npz of attacked clouds, as ``evaluation.reports.write_clouds`` leaves it."""
    return path.suffix == ".npz" and {"adv", "clean", "label", "name"} <= set(array_names(path))


def says_frame(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the arrays of an npz say that their points are in the frame of a classifier."""
    return str(arrays.get("frame", "")) == FRAME


def read_geometry(path: str | Path) -> Geometry:
    """What a file holds, unchanged: see ``Geometry``. The ending decides the format.

    Columns four to six of a table are taken for normals where they look like normals: of unit length, and some of them
    negative, which colours never are.

    Raises:
        UserError: the file is missing, of an unknown kind, damaged, or not finite.
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
    lines, numbers = read_lines(path)
    cloud = _cloud(path, parse_table(path, lines, numbers), f", line {numbers[0]}")
    with path.open(encoding=encoding(path), errors="replace") as stream:
        return cloud._replace(framed=stream.readline().strip() == f"# {FRAME}")


def _read_pts(path: Path) -> Geometry:
    """Rows of x y z [intensity] [r g b], at times after a line with their count."""
    lines, numbers = read_lines(path)
    if lines[0].split() == [lines[0].strip()] and lines[0].strip().isdigit():
        count = int(lines[0])
        if len(lines) - 1 < count:
            raise UserError(f"{path} is truncated: it announces {count} points and has {len(lines) - 1}")
        lines, numbers = lines[1 : count + 1], numbers[1 : count + 1]
    return _cloud(path, parse_table(path, lines, numbers), f", line {numbers[0] if numbers else 1}", columns=(4,))


def _read_csv(path: Path) -> Geometry:
    """As text; the first line may name the columns, of which x y z and nx ny nz are taken."""
    lines, numbers = read_lines(path)
    names = [name.strip("\"' ").lower() for name in lines[0].split()]
    if any(name[:1].isdigit() or name[:1] in "+-." for name in names):
        return _read_text(path)
    table = parse_table(path, lines[1:], numbers[1:])
    columns = {name: place for place, name in enumerate(names)}
    if not {"x", "y", "z"} <= set(columns) or table.shape[1] != len(names):
        raise UserError(
            f"{path}, line {numbers[0]}: {len(names)} names, {' '.join(names)}; expected x, y and z among them"
        )
    wanted = ["x", "y", "z", *(("nx", "ny", "nz") if {"nx", "ny", "nz"} <= set(columns) else ())]
    return _cloud(path, table[:, [columns[name] for name in wanted]], f", line {numbers[0]}")


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
    if table.ndim != 2 or table.dtype.kind not in "fiu":
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
        if holds_attack(path):
            raise UserError(f"{path} holds {len(arrays['adv'])} attacked clouds and one is asked for: save them as ply")
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}; expected 'points', and 'normals' where known")
    name = "points" if "points" in arrays else next(iter(arrays))
    cloud = _cloud(path, _checked_rows(path, arrays[name], repr(name)), "")._replace(framed=says_frame(arrays))
    if "normals" not in arrays:
        return cloud
    normals = _checked_rows(path, arrays["normals"], "'normals'")
    if normals.shape != cloud.points.shape:
        raise UserError(f"{path}: 'normals' has shape {normals.shape}, the points {cloud.points.shape}")
    return cloud._replace(normals=normals)


_READERS: dict[str, Callable[[Path], Geometry]] = {
    ".txt": _read_text,
    ".xyz": _read_text,
    ".pts": _read_pts,
    ".csv": _read_csv,
    ".pcd": read_pcd,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".ply": read_ply,
    ".stl": read_stl,
    ".off": read_off,
    ".obj": read_obj,
}
#: What ``read_cloud`` reads.
CLOUD_SUFFIXES = tuple(_READERS)
