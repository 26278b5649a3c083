"""What a file is, by its first bytes: a torch file, safetensors, or which other thing, and what to do about it."""

from __future__ import annotations

import json
import pickle
import pickletools
from contextlib import suppress
from pathlib import Path
from typing import Literal

from shared_utils import UserError

Kind = Literal["zip", "legacy", "safetensors"]

HEAD = 4096
_LEGACY_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_AGAIN = "save or download it again"
_UNPACK = "unpack it and give the checkpoint inside"
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer", "fetch it with git lfs pull"),
    (0, b"\x1f\x8b", "a gzip file", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a rar archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "give a torch or safetensors file"),
    (0, b"\x93NUMPY", "a NumPy array (.npy)", "give a torch or safetensors file"),
    (0, b"\x89PNG", "a PNG picture", "give a torch or safetensors file"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give a torch or safetensors file"),
    (0, b"%PDF", "a PDF document", "give a torch or safetensors file"),
    (4, b"TFL3", "a TensorFlow Lite model", "give a torch or safetensors file"),
)


def kind_of(path: Path) -> Kind:
    """The format of a checkpoint file, by its content.

    Raises:
        UserError: it is missing, empty, or something else than a checkpoint; the sentence says what and the fix.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the checkpoint file inside it")
    if not path.is_file():
        raise UserError(f"{path} not found: give the path of an existing checkpoint")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path} is empty (0 bytes): {_AGAIN}")
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if head[:4] == b"PK\3\4":
        return "zip"
    if head.startswith(_LEGACY_TORCH):
        return "legacy"
    if head[8:9] == b"{" and not _is_text(head[:8]):
        return "safetensors"
    _refuse(path, head, size)
    if path.suffix == ".safetensors":
        raise UserError(f"{path} is not a safetensors file (its header is damaged or missing): {_AGAIN}")
    raise UserError(f"{path} is not a checkpoint, or its beginning is damaged: give a torch or safetensors file")


def _refuse(path: Path, head: bytes, size: int) -> None:
    """Raise UserError where the file is of a kind that can be named."""
    if not head.strip(b"\0"):
        raise UserError(f"{path} begins with zeros, not with data: the writing or the download stopped early; {_AGAIN}")
    for place, magic, name, fix in _OTHERS:
        if head[place : place + len(magic)] == magic:
            raise UserError(f"{path} is {name}, not a checkpoint: {fix}")
    if size < 16:
        raise UserError(f"{path} is only {size} byte{'s' * (size > 1)} long, too short for a checkpoint: {_AGAIN}")
    if head[:1] == b"\x80" and head[1] in range(2, 6):
        named = _first_class(head)
        what = f" ({named})" if named else ""
        raise UserError(
            f"{path} is a Python pickle{what}, not a checkpoint of torch.save, and is never run: save its state dict "
            "with torch.save and give that"
        )
    if _is_text(head):
        text = head.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
        if text.startswith("<"):
            raise UserError(
                f"{path} is a web page, not a checkpoint: the download was answered by a page; fetch the file itself"
            )
        if text.startswith(("{", "[")) and _is_json(path, size):
            raise UserError(f"{path} is JSON text, not a checkpoint: give the file that holds the weights")
        raise UserError(f"{path} is plain text, not a checkpoint: give a torch or safetensors file")


def _is_text(head: bytes) -> bool:
    """Whether bytes read as text; a character may be cut off at the end."""
    for cut in range(4):
        with suppress(UnicodeDecodeError):
            text = head[: len(head) - cut].decode("utf-8")
            return all(letter.isprintable() or letter in "\t\r\n\ufeff" for letter in text)
    return False


def _is_json(path: Path, size: int) -> bool:
    if size > 1 << 26:  # not parsed for a message
        return True
    with suppress(ValueError, RecursionError):
        json.loads(path.read_bytes())
        return True
    return False


def _first_class(head: bytes) -> str | None:
    """The first class or function that a pickle names, read without running anything."""
    words: list[str] = []
    with suppress(Exception):
        for opcode, argument, _ in pickletools.genops(head):
            if opcode.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if opcode.name == "STACK_GLOBAL":
                return ".".join(words[-2:])
            if isinstance(argument, str):
                words.append(argument)
    return None
