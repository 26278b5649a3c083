"""Reading pickles of plain values: numpy arrays and builtin types. Whatever else a file names is refused, not imported."""

from __future__ import annotations

import codecs
import importlib
import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from shared_utils import UserError

_KINDS = (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
_BUILTINS = {kind.__name__: kind for kind in _KINDS} | {"long": int, "unicode": str}  # the last two of Python 2


def _allowed() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {("_codecs", "encode"): codecs.encode}
    found |= {(module, name): kind for module in ("builtins", "__builtin__") for name, kind in _BUILTINS.items()}
    for package in ("numpy.core", "numpy._core"):  # numpy 2 moved its internals; pickles of both name them
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer")):
            found[f"{package}.{module}", name] = getattr(importlib.import_module(f"numpy._core.{module}"), name)
    return found | {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}


class _Unpickler(pickle.Unpickler):
    known = _allowed()

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return self.known[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}") from None


def load(stream: IO[bytes]) -> Any:
    """The content of a pickle of numpy arrays and builtin types; files of Python 2 too.

    Raises:
        ValueError: it is damaged, or names anything else, which is not imported.
    """
    try:
        return _Unpickler(stream, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"not a pickle of plain values ({error}): nothing in a file is executed") from None
    except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError, MemoryError) as error:
        raise ValueError(f"damaged ({type(error).__name__}: {error})") from None


def read(path: str | Path) -> Any:
    """The content of a pickle file of numpy arrays and builtin types; files of Python 2 too.

    Raises:
        UserError: it is missing, damaged, or holds anything else, which is not executed.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return load(stream)
    except FileNotFoundError:
        raise UserError(f"{path} not found: check the path") from None
    except ValueError as error:
        raise UserError(f"{path} is {error}; only numpy arrays and builtin types are read: copy it again") from None
