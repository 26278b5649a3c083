"""Checkpoints read: whole or refused, with the true reason; nothing of a file is ever executed."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from shared_utils import UserError
from shared_utils.checkpoint.kinds import Kind, kind_of
from shared_utils.checkpoint.outline import Outline, check_memory
from shared_utils.checkpoint.writing import COMMENT_LENGTH, MARK, add_to_digest

_AGAIN = "save or download it again"
_UNREADABLE = (
    *(pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, AttributeError, IndexError, TypeError),
    *(struct.error, AssertionError, OverflowError, ImportError, MemoryError, RecursionError, OSError),
)


def verify(path: str | Path) -> None:
    """Check that a checkpoint file is whole, without loading its tensors.

    A file of ``save`` is compared with its checksum, another torch file with the CRC of its records, safetensors with
    its header and, where it is ours, its checksum. What is in the file is neither run nor built.

    Raises:
        UserError: it is not; the sentence names the file, what it is or what is wrong with it, and the fix.
    """
    path = Path(path)
    if _check(path) == "safetensors":
        _read_safetensors(path, "cpu", keep=False)


def load_tensors(path: str | Path, map_location: str | torch.device = "cpu", *, lazily: bool = False) -> Any:
    """The content of a torch or safetensors file; only tensors and plain values come in, no code of the file runs.

    Args:
        path: the file; its content, not its name, decides how it is read.
        map_location: the device of the tensors.
        lazily: leave the tensors of a file of ``save`` on disk until they are used.

    Raises:
        UserError: it is not a whole checkpoint; the sentence names the file, the reason and the fix.
    """
    path = Path(path)
    if _check(path) == "safetensors":
        return _read_safetensors(path, map_location)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            # Of a name that ends so, torch would take the content for safetensors.
            if lazily and path.suffix != ".safetensors" and _signature(path) is not None:
                return torch.load(path, map_location=map_location, weights_only=True, mmap=True)
            with path.open("rb") as stream:
                return torch.load(stream, map_location=map_location, weights_only=True)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.filename is not None:
            raise
        found = re.search(r"GLOBAL ([\w.]+)", reason) or re.search(r"[Uu]nsupported class[^\w]*([\w.]+)", reason)
        if isinstance(error, pickle.UnpicklingError) and found:
            raise UserError(
                f"{path} holds {found[1]}, which only running code of the file could make, and that is "
                "never done: save its plain state dict and give that"
            ) from None
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> UserError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return UserError(f"{path} is not a checkpoint that torch can read ({reason}): give a torch or safetensors file")


def _numpy_scalars() -> list:
    """What a pickled numpy number is made of: published files often carry an accuracy as one. Harmless to call."""
    import numpy as np
    from numpy._core import multiarray

    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    scalar = multiarray.scalar
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def _check(path: Path) -> Kind:
    """The kind of a checkpoint, whose bytes are whole and whose tensors take no more memory than they should."""
    signature = _signature(path) if path.is_file() else None
    if signature is not None and signature != _digest_of_ours(path):
        raise UserError(f"{path} is damaged (its checksum does not match): use another checkpoint")
    kind = kind_of(path)
    if kind == "zip":
        _check_zip(path, whole=signature is not None)
    elif kind == "legacy":
        outline = Outline()
        with path.open("rb") as stream:
            try:
                for _ in ("magic number", "protocol", "machine", "content"):
                    outline.read(stream)
            except _UNREADABLE as error:
                raise _unreadable(path, error) from error
        check_memory(path, outline.memory, path.stat().st_size)
    return kind


def _signature(path: Path) -> str | None:
    """The checksum that ``save`` has written at the end of a file; None for a file of others.

    Raises:
        UserError: there is one, with its end missing.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(4)
        stream.seek(max(0, size - COMMENT_LENGTH - 22))
        end = stream.read()
    if end[:4] == b"PK\5\6" and end[22:].startswith(MARK):
        return end[22 + len(MARK) :].decode("ascii", errors="replace")
    if head == b"PK\3\4" and b"PK\5\6" in end and end.find(MARK) > 0:
        raise UserError(f"{path} is truncated: {_AGAIN}")
    return None


def _digest_of_ours(path: Path) -> str:
    """The SHA-256 of a file of ``save`` as it was before its comment."""
    digest = hashlib.sha256()
    left = path.stat().st_size - COMMENT_LENGTH - 2
    with path.open("rb") as stream:
        while left > 0 and (block := stream.read(min(left, 1 << 22))):
            digest.update(block)
            left -= len(block)
    digest.update(b"\0\0")
    return digest.hexdigest()


def _check_zip(path: Path, whole: bool) -> None:
    """Raise UserError unless a zip file is a whole torch file of honest size; ``whole``: its bytes are known to be."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            sizes = {record.filename: record.file_size for record in records}
            check_memory(path, sum(record.file_size for record in records), path.stat().st_size)
            # torch finds records whatever the case of their names; two of one name would be two readings of the file.
            twice = len({name.lower() for name in sizes}) < len(records)
            damaged = "list" if twice else None if whole else archive.testzip()
            if not whole and archive.comment.startswith(MARK):
                damaged = "checksum, which is not at the end"
            folder = next(iter(sizes), "").split("/")[0] + "/"
            content = f"{folder}data.pkl" if f"{folder}data.pkl" in sizes else None
            described = archive.read(content) if content and not damaged else b""
    except (zipfile.BadZipFile, zlib.error, *_UNREADABLE) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is truncated or damaged ({error}): {_AGAIN}") from error
    if damaged:
        raise UserError(f"{path} is damaged (record {damaged}): {_AGAIN}")
    if content is None:
        what = (
            "a NumPy archive (.npz)"
            if all(name.endswith(".npy") for name in sizes)
            else "a zip archive of other things"
        )
        raise UserError(f"{path} is {what}, not a checkpoint: give a torch or safetensors file")
    if f"{folder}constants.pkl" in sizes:
        raise UserError(
            f"{path} is a TorchScript program, which would be run: give its state dict, saved by torch.save"
        )
    start = f"{folder}data/"
    outline = Outline({name.removeprefix(start): size for name, size in sizes.items() if name.startswith(start)})
    try:
        outline.read(io.BytesIO(described))
    except UserError as error:
        raise UserError(f"{path} is damaged or made to mislead ({error}): get it from its source again") from error
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    check_memory(path, outline.memory, path.stat().st_size)


def _read_safetensors(path: Path, device: str | torch.device, keep: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, compared with its checksum where it has one; ``keep``: not only that."""
    tensors, digest = {}, hashlib.sha256()
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            wanted = (file.metadata() or {}).get("sha256")
            for name in sorted(file.keys()):
                tensor = file.get_tensor(name)
                if wanted is not None:
                    add_to_digest(digest, name, tensor)
                if keep:
                    tensors[name] = tensor
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a whole safetensors file ({reason}): {_AGAIN}") from error
    if wanted is not None and wanted != digest.hexdigest():
        raise UserError(f"{path} is damaged (its checksum does not match): {_AGAIN}")
    return tensors
