"""What a torch file would build, read without building it: the memory of its tensors, the names of its classes.

The pickle inside is walked by Python's own unpickler with inert stand-ins for every class and function that it names:
nothing of the file is imported or called, no tensor is made.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import torch

from shared_utils import UserError

# Tensors may share storages and rarely are expanded views; a file may be compressed a little. Beyond that it is a bomb.
_FACTOR, _FLOOR = 8, 64 << 20


def check_memory(path: Path, needed: int, size: int) -> None:
    """Raise UserError where what a file declares would take far more memory than the file is long."""
    if needed > _FACTOR * size + _FLOOR:
        raise UserError(
            f"{path} is {readable(size)} long but declares {readable(needed)} of content: it is damaged or made to "
            "fill the memory; get it from its source again, or save it anew where it was made"
        )


def readable(number: int) -> str:
    """A number of bytes in the unit that a reader takes in: 312 bytes, 1.2 MB, 40.0 GB."""
    if number < 1000:
        return f"{number} bytes"
    amount = float(number)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        amount /= 1000
        if amount < 1000:
            return f"{amount:.1f} {unit}"
    return f"{amount:.0f} PB"


@dataclass
class Outline:
    """What a pickle of ``torch.save`` would build.

    records: bytes of each stored record, where they are known (zip files). storages: bytes of each storage that the
    pickle names. extra: bytes of tensors beyond their storage (expanded views), and of what is made from a number.
    classes: the names that are looked up.
    """

    records: Mapping[str, int] | None = None
    storages: dict[str, int] = field(default_factory=dict)
    extra: int = 0
    classes: set[str] = field(default_factory=set)

    @property
    def memory(self) -> int:
        return sum(self.storages.values()) + self.extra

    def read(self, stream: BinaryIO) -> Any:
        """Walk one pickle; what comes back has stand-ins where the pickle names classes."""
        return _Walker(stream, self).load()


@dataclass(frozen=True)
class _Storage:
    nbytes: int
    item: int


class _StandIn:
    """Takes whatever a pickle does to an object."""

    path: str
    outline: Outline

    def __new__(cls, *args: Any, **kwargs: Any) -> _StandIn:
        _count(cls, args)
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        # Tensors of the oldest files are built by (storage, offset, size, stride).
        _count(type(self), state if isinstance(state, tuple) else ())

    def __call__(self, *args: Any, **kwargs: Any) -> _StandIn:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    extend = add = update = append


def _count(kind: type[_StandIn], args: tuple) -> None:
    """Add to the outline what calling ``kind`` with ``args`` would take beyond the storages."""
    outline = kind.outline
    if kind.path.endswith("._rebuild_from_type_v2") and len(args) > 2 and isinstance(args[0], type):
        _count(args[0], tuple(args[2]))
    elif args and isinstance(args[0], _Storage) and len(args) > 2 and isinstance(args[2], tuple):
        storage, _, size, *rest = args
        named = [
            value.path.removeprefix("torch.") for value in rest if isinstance(value, type) and hasattr(value, "path")
        ]
        items = [getattr(getattr(torch, name, None), "itemsize", 1) for name in named]
        taken = prod(int(number) for number in size) * max([storage.item, *items])
        outline.extra += max(0, taken - storage.nbytes)
    elif kind.path == "builtins.bytearray" or kind.path.endswith(("Tensor", "Storage", "Parameter")):
        shape = args[0] if len(args) == 1 and isinstance(args[0], tuple) else args
        if shape and all(isinstance(number, int) for number in shape):
            outline.extra += 8 * prod(shape)


class _Dict(dict):
    """An OrderedDict, whose attributes (``_metadata`` of a state dict) may be set."""


class _Walker(pickle._Unpickler):
    """Python's unpickler, with stand-ins for classes. The opcodes that could reach real objects or memory are out."""

    dispatch: ClassVar = {
        code: handler
        for code, handler in pickle._Unpickler.dispatch.items()
        if code not in {pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0], pickle.BYTEARRAY8[0], pickle.NEXT_BUFFER[0]}
    }

    def __init__(self, stream: BinaryIO, outline: Outline) -> None:
        super().__init__(stream, encoding="utf-8", errors="surrogateescape")
        self.outline = outline

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        self.outline.classes.add(path)
        if path == "collections.OrderedDict":
            return _Dict
        return type("StandIn", (_StandIn,), {"path": path, "outline": self.outline})

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, numel, *_ = pid
        name = kind.path.rsplit(".", 1)[-1]
        item = 1 if name == "UntypedStorage" else torch.serialization.StorageType(name).dtype.itemsize
        declared = int(numel) * item
        records, key = self.outline.records, str(key)
        # torch takes the declared length for the record's: beyond its end it would read other memory.
        if records is not None and declared > records.get(key, 0):
            raise UserError(
                f"tensor record {key} is {readable(records.get(key, 0))} long but {readable(declared)} are declared"
            )
        self.outline.storages[key] = max(declared, self.outline.storages.get(key, 0))
        return _Storage(declared, item)
