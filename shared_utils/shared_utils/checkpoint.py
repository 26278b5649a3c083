"""Checkpoints that survive a kill, loading that never runs code, and a plain way in and out of published state dicts.

A file written by ``save`` is an ordinary ``torch.save`` file; its SHA-256 stands in the zip comment at its end, so that
one file carries its own proof and any torch reads it. It appears under its name only when it is whole on disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from shared_utils import UserError

log = logging.getLogger(__name__)
_MARK = b"sha256:"
_COMMENT_LENGTH = len(_MARK) + 64


class _File:
    """A binary file that remembers the first error of a write: torch's zip writer would hide it behind its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.error = stream, None

    def write(self, data: bytes) -> int:
        try:
            return self.stream.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self.stream.flush()


@contextmanager
def replacing(path: str | Path):
    """Write a file so that ``path`` is either the old file or the whole new one, whatever happens in between.

    Yields the path of a temporary file in the same folder; on leaving the block it is synced to disk and renamed. On an
    error it is removed and ``path`` stays as it was. The temporary name is fixed, so what a killed process left behind
    is overwritten by the next one.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save(content: Any, path: str | Path) -> None:
    """Save tensors and plain values durably: temporary file, checksum, fsync, rename.

    Raises OSError (no space left, say) with ``path`` untouched.
    """
    with replacing(path) as temporary, temporary.open("wb+") as stream:
        file = _File(stream)
        try:
            torch.save(content, file)
        except RuntimeError as error:
            raise (file.error or error) from None
        stream.seek(0)
        comment = _MARK + hashlib.file_digest(stream, "sha256").hexdigest().encode()
        stream.seek(-2, os.SEEK_END)
        stream.write(struct.pack("<H", len(comment)) + comment)


def verify(path: str | Path) -> None:
    """Raise UserError, naming the file and what is wrong with it, unless it is whole.

    A file of ``save`` is held to its checksum, another torch file to the CRC of its records; a folder, an empty file
    and a web page are told apart. Nothing in the file is interpreted beyond that.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the checkpoint file inside it")
    if not path.is_file():
        raise UserError(f"{path} not found: give the path of an existing checkpoint")
    with path.open("rb") as stream:
        head = stream.read(512)
        if not head:
            raise UserError(f"{path} is empty (0 bytes): save or download it again")
        if head.lstrip()[:1] == b"<":
            raise UserError(
                f"{path} is a web page, not a checkpoint: the download was answered by a page; fetch the file"
            )
        size = path.stat().st_size
        stream.seek(max(0, size - _COMMENT_LENGTH))
        comment = stream.read()
        if head[:2] == b"PK" and comment.find(_MARK) > 0:
            raise UserError(f"{path} is truncated: save or download it again")
        if head[:2] == b"PK" and comment.startswith(_MARK):
            stream.seek(0)
            digest = hashlib.sha256()
            left = size - _COMMENT_LENGTH - 2
            while left > 0:
                block = stream.read(min(left, 1 << 22))
                digest.update(block)
                left -= len(block)
            digest.update(b"\0\0")
            if digest.hexdigest().encode() != comment[len(_MARK) :]:
                raise UserError(f"{path} is damaged (its checksum does not match): use another checkpoint")
            return
    if head[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise UserError(f"{path} is truncated or damaged ({error}): save or download it again") from error
        if damaged:
            raise UserError(f"{path} is damaged (record {damaged}): save or download it again")


def _numpy_scalars() -> list:
    """What a pickled numpy number is made of: published files often carry an accuracy as one. Harmless to call."""
    import numpy as np

    kinds = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]
    scalar = np._core.multiarray.scalar
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def load_tensors(path: str | Path, map_location: str | torch.device = "cpu") -> Any:
    """The content of a torch or safetensors file; only tensors and plain values come in, no code of the file runs.

    Raises UserError, naming the file and the reason, for whatever is not a whole checkpoint.
    """
    path = Path(path)
    verify(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path, map_location)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)|[Uu]nsupported (?:global|class|operand)[^\w]*([\w.]+)", str(error))
        if found:
            name = found[1] or found[2]
            raise UserError(
                f"{path} asks for code ({name}), which is never run: save its plain state dict and give that"
            ) from None
        raise UserError(f"{path} is not a checkpoint that torch can read: give a torch or safetensors file") from error
    except (EOFError, RuntimeError, ValueError, KeyError, AttributeError, IndexError, TypeError, struct.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is not a checkpoint that torch can read ({reason}): give a torch or safetensors file"
        ) from error


def newest_good(paths: Iterable[str | Path]) -> Path | None:
    """The most recently written of ``paths`` that verifies; damaged ones are named in the log and passed over."""
    present = [Path(path) for path in paths if Path(path).is_file()]
    for path in sorted(present, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            verify(path)
            return path
        except UserError as error:
            log.warning("passed over: %s", error)
    return None


def _tensor_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_safetensors(
    tensors: Mapping[str, torch.Tensor], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors durably as safetensors, with their SHA-256 in the metadata."""
    # Cloned: safetensors refuses entries that share memory, as a module under two names does.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors_bytes(tensors, {**(metadata or {}), "sha256": _tensor_digest(tensors)}))


def _load_safetensors(path: Path, device: str | torch.device) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            digest = (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): save or download it again") from error
    if digest is not None and digest != _tensor_digest(tensors):
        raise UserError(f"{path} is damaged (its checksum does not match): save or download it again")
    return tensors


class Exportable(PyTorchModelHubMixin):
    """The Hugging Face hub mixin (``save_pretrained``, ``from_pretrained``) with durable and verified files.

    Mix it into an ``nn.Module`` whose constructor takes plain values: ``class Net(nn.Module, Exportable)``. A folder
    holds ``model.safetensors`` and ``config.json`` (the constructor arguments).
    """

    def _save_pretrained(self, save_directory: Path) -> None:
        save_safetensors(self.state_dict(), Path(save_directory) / "model.safetensors", {"format": "pt"})

    @classmethod
    def _load_as_safetensor(
        cls, model: torch.nn.Module, model_file: str, map_location: str, strict: bool
    ) -> torch.nn.Module:
        import_state_dict(model, load_tensors(model_file, map_location), source=str(model_file))
        return model.to(map_location)


@dataclass
class ImportReport:
    """What an import found: entry names of the model (``matched``, ``missing``) and of the file (``unexpected``)."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.matched)} entries matched"]
        for kind in ("missing", "unexpected", "mismatched"):
            if names := getattr(self, kind):
                lines.append(f"{len(names)} {kind}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}")
        return "; ".join(lines)


def import_state_dict(
    model: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    rules: Iterable[tuple[str, str]] = (),
    optional: Callable[[str], bool] = lambda name: name.endswith("num_batches_tracked"),
    source: str = "the state dict",
) -> ImportReport:
    """Load a published state dict into ``model``, all or nothing.

    rules: (regular expression, replacement) applied in order to every name of the file, as ``re.sub``; a name that
        becomes empty is left out on purpose.
    optional: names of the model that the file may lack (they keep their value).
    Returns the report. Raises UserError with up to ten names of each kind when something does not fit; the model is
    then unchanged.
    """
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name:
            renamed[name] = tensor
    own = model.state_dict()
    report = ImportReport()
    for name, tensor in own.items():
        if name not in renamed:
            if not optional(name):
                report.missing.append(name)
        elif tuple(renamed[name].shape) != tuple(tensor.shape):
            report.mismatched.append(f"{name} {tuple(renamed[name].shape)} for {tuple(tensor.shape)}")
        else:
            report.matched.append(name)
    report.unexpected = [name for name in renamed if name not in own and not optional(name)]
    if report.missing or report.unexpected or report.mismatched:
        raise UserError(f"{source} does not fit {type(model).__name__}: {report}")
    model.load_state_dict({name: renamed[name] for name in report.matched}, strict=False)
    return report


def write_json(content: Any, path: str | Path) -> None:
    """Write JSON durably (see ``replacing``)."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
