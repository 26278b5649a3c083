"""Arrays by name in the usual containers: .npz, .mat (v5 to v7.3) and HDF5. Nothing in a file is executed."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shared_utils import UserError, files

_HDF5 = b"\x89HDF\r\n\x1a\n"
Arrays = dict[str, np.ndarray]


def load_arrays(path: str | Path) -> Arrays:
    """Every array of an .npz, a .mat (v5 to v7.3) or an HDF5 file (its group /mrf, where there is one), by name.

    MATLAB structs come as ``struct.field``.

    Raises:
        UserError: for a file that is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give a file")
    if not path.is_file():
        raise UserError(f"{path} not found: check the path")
    with path.open("rb") as stream:
        head = stream.read(520)
    if not head:
        raise UserError(f"{path} is empty (0 bytes): save or download it again")
    try:
        if head.startswith(_HDF5) or head[512:520] == _HDF5:
            return _load_hdf5(path, matlab=path.suffix == ".mat")
        if head[:2] == b"PK":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".mat":
            return _load_mat(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        if "pickle" in str(error):
            raise UserError(f"{path} holds Python objects, which are never read: save plain arrays") from error
        raise UserError(f"{path} is damaged or not what its name promises ({error}): save it again") from error
    raise UserError(f"{path} is not an .npz, .mat or HDF5 file: convert it to one of them")


def _load_mat(path: Path) -> Arrays:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, struct_as_record=True)
    except MatReadError as error:
        raise UserError(f"{path} is not a MATLAB file ({error}): save it again") from error
    arrays: Arrays = {}
    for name, value in content.items():
        if name.startswith("__"):
            continue
        if value.dtype.names and value.size == 1:
            record = value.reshape(-1)[0]
            arrays.update({f"{name}.{field}": np.asarray(record[field]) for field in value.dtype.names})
        else:
            arrays[name] = value
    return arrays


def _load_hdf5(path: Path, matlab: bool) -> Arrays:
    import h5py

    arrays: Arrays = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(item, h5py.Dataset) or name.startswith("#"):
            return
        value = item.asstr()[()] if h5py.check_string_dtype(item.dtype) else item[()]
        value = np.asarray(value)
        if value.dtype.names == ("real", "imag"):
            value = value["real"] + 1j * value["imag"]
        # MATLAB stores the last index slowest.
        arrays[name.replace("/", ".")] = value.T if matlab else value

    with h5py.File(path) as file:
        group = file.get("mrf", file)
        if isinstance(group, h5py.Group):
            group.visititems(visit)
    return arrays


def require(content: Mapping[str, np.ndarray], source: str | Path, *keys: str, fix: str) -> None:
    """Raise UserError naming the first of ``keys`` that is missing, what there is, and the fix."""
    for key in keys:
        if key not in content:
            raise UserError(f"{source} has no entry {key} (it has {', '.join(content) or 'none'}): {fix}")


def numbers(content: Mapping[str, Any], key: str, source: str | Path, kind: type = float) -> np.ndarray:
    """The entry ``key`` as an array of numbers of ``kind`` (float, complex).

    Raises:
        UserError: for text, objects, and complex numbers where real ones are meant.
    """
    value = np.asarray(content[key])
    if value.dtype.kind not in ("biufc" if kind is complex else "biuf"):
        held = {"c": "complex numbers", "U": "text", "S": "text", "T": "text"}.get(value.dtype.kind, str(value.dtype))
        raise UserError(f"{source}: {key} holds {held}: store {'complex' if kind is complex else 'real'} numbers")
    return value.astype(np.complex128 if kind is complex else np.float64)


def number(content: Mapping[str, Any], key: str, source: str | Path) -> float:
    """The one number of the entry ``key``; UserError where it holds several or none."""
    value = numbers(content, key, source).reshape(-1)
    if len(value) != 1:
        raise UserError(f"{source}: {key} holds {len(value)} numbers: store one")
    return float(value[0])


def write_arrays(path: str | Path, entries: Mapping[str, Any]) -> None:
    """Write an .npz, or HDF5 (group /mrf) where the name ends in .h5 or .hdf5, whole or not at all; None is left out."""
    entries = {name: value for name, value in entries.items() if value is not None}
    with files.replacing(path) as temporary:
        if Path(path).suffix in (".h5", ".hdf5"):
            import h5py

            with h5py.File(temporary, "w") as file:
                group = file.create_group("mrf")
                for name, value in entries.items():
                    group[name] = value
            return
        with temporary.open("wb") as stream:
            np.savez(stream, **entries)


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
