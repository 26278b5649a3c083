"""Checkpoints written whole, with their checksum inside."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from safetensors.torch import save as safetensors_bytes

from shared_utils.files import replacing

MARK = b"sha256:"
COMMENT_LENGTH = len(MARK) + 64


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


def save(content: Any, path: str | Path) -> None:
    """Save tensors and plain values durably: temporary file, checksum, fsync, rename.

    Args:
        content: what ``torch.save`` takes; only tensors and plain values can be loaded again.
        path: the file, replaced when the new one is whole.

    Raises:
        OSError: no space left, say; ``path`` is untouched.
    """
    with replacing(path) as temporary, temporary.open("wb+") as stream:
        file = _File(stream)
        try:
            torch.save(content, cast("IO[bytes]", file))  # it asks for write and flush alone
        except RuntimeError as error:
            raise (file.error or error) from None
        stream.seek(0)
        comment = MARK + hashlib.file_digest(stream, "sha256").hexdigest().encode()
        stream.seek(-2, os.SEEK_END)
        stream.write(struct.pack("<H", len(comment)) + comment)


def save_safetensors(
    tensors: Mapping[str, torch.Tensor], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Write tensors durably as safetensors, with their SHA-256 in the metadata."""
    # Cloned: safetensors refuses entries that share memory, as a module under two names does.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        add_to_digest(digest, name, tensors[name])
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors_bytes(tensors, {**(metadata or {}), "sha256": digest.hexdigest()}))


def add_to_digest(digest: Any, name: str, tensor: torch.Tensor) -> None:
    """Add a name and the bytes of its tensor to a hash."""
    digest.update(name.encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def weights_digest(model_or_state: torch.nn.Module | Mapping[str, Any]) -> str:
    """16 hex digits that differ where weights differ: names, kinds, shapes or values. For descriptions of jobs.

    Args:
        model_or_state: a module, or its state dict; on any device.
    """
    state = model_or_state.state_dict() if isinstance(model_or_state, torch.nn.Module) else model_or_state
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name]
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            add_to_digest(digest, name, value)
        else:
            digest.update(f"{name}={value!r}".encode())
    return digest.hexdigest()[:16]
